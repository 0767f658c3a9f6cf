// SPDX-License-Identifier: Apache-2.0
// Sliding-window attention for training and its gradient: checks values, fills the parameters and runs the
// kernel.
#include <algorithm>

#include "../dispatch.h"
#include "op_info.h"
#include "packed_attention.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

template <class Operator>
void Fill(const Operator& op, PackedAttentionInputs* out) {
  FillPacked(op, out);
  // One sequence where no lengths are given, or those of the query.
  const int64_t* whole = op.actual_seq_qlen.absent() ? &op.T2 : out->actual_seq_qlen;
  out->actual_seq_kvlen = op.actual_seq_kvlen.absent() ? whole : op.actual_seq_kvlen.template as<int64_t>();
  const int64_t longest =
      CheckPrefixes(Operator::kName, "actual_seq_kvlen", out->actual_seq_kvlen, op.B, "T2", op.T2);
  out->select_block_count = MostBlocks(std::min(op.window_size, longest));
  out->window_size = op.window_size;
  out->sparse_mode = SparseMode::kRightDownCausal;
  out->key_rule = KeyRule::kWindow;
}

}  // namespace

void Run(NsaWindowAttention& op) {
  PackedAttentionParams params{};
  Fill(op, &params.in);
  params.attention_out = op.attention_out;
  params.softmax_max = static_cast<float*>(op.softmax_max);
  params.softmax_sum = static_cast<float*>(op.softmax_sum);
  RunKernel(op, Kernels().packed_attention, params, params.in.max_threads);
}

void Run(NsaWindowAttentionGrad& op) {
  PackedAttentionGradParams params{};
  Fill(op, &params.in);
  FillGrad(op, &params);
  RunKernel(op, Kernels().packed_attention_grad, params, params.in.max_threads);
}

}  // namespace ms_nsa
