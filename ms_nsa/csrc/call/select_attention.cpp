// SPDX-License-Identifier: Apache-2.0
// Selected attention for training and its gradient: checks values, fills parameters, runs the kernel.
#include <vector>

#include "../dispatch.h"
#include "check_values.h"
#include "mask_data.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

// For the forward and the gradient, whose structs have the same names.
template <class Operator>
void Fill(const Operator& op, PackedAttentionInputs* out) {
  out->query = op.query.data;
  out->key = op.key.data;
  out->value = op.value.data;
  out->topk_indices = op.topk_indices.template as<int32_t>();
  out->atten_mask = MaskData(op.atten_mask);
  out->atten_mask_cols = op.atten_mask.absent() ? 0 : op.atten_mask.shape[1];
  out->t1 = op.T1, out->n1 = op.N1, out->d1 = op.D1;
  out->t2 = op.T2, out->n2 = op.N2, out->d2 = op.D2;
  // One sequence if no lengths are given.
  out->actual_seq_qlen = op.actual_seq_qlen.absent() ? &op.T1 : op.actual_seq_qlen.template as<int64_t>();
  out->actual_seq_kvlen = op.actual_seq_kvlen.absent() ? &op.T2 : op.actual_seq_kvlen.template as<int64_t>();
  out->batch = op.B;
  out->select_block_size = op.select_block_size;
  out->select_block_count = op.select_block_count;
  out->scale_value = ScaleOf(op);
  out->dtype = op.dtype();
  out->sparse_mode = static_cast<SparseMode>(op.sparse_mode);
}

template <class Operator>
void CheckValues(const Operator& op, const PackedAttentionInputs& in) {
  const char* name = Operator::kName;
  const int64_t max_q = CheckPrefixes(name, "actual_seq_qlen", in.actual_seq_qlen, in.batch, "T1", in.t1);
  const int64_t max_kv = CheckPrefixes(name, "actual_seq_kvlen", in.actual_seq_kvlen, in.batch, "T2", in.t2);
  if (in.atten_mask) CheckMaskCovers(name, op.atten_mask.shape[0], in.atten_mask_cols, max_q, max_kv);
  int64_t q_start = 0, kv_start = 0;
  for (int64_t b = 0; b < in.batch; ++b) {
    const int64_t bound = CeilDiv(in.actual_seq_kvlen[b] - kv_start, in.select_block_size);
    CheckIndices(name, in.topk_indices, q_start, in.actual_seq_qlen[b] - q_start, in.n2,
                 in.select_block_count, bound);
    q_start = in.actual_seq_qlen[b];
    kv_start = in.actual_seq_kvlen[b];
  }
}

}  // namespace

void Run(NsaSelectAttention& op) {
  PackedAttentionParams params{};
  Fill(op, &params.in);
  CheckValues(op, params.in);
  params.attention_out = op.attention_out;
  params.softmax_max = static_cast<float*>(op.softmax_max);
  params.softmax_sum = static_cast<float*>(op.softmax_sum);
  RunKernel(op, Kernels().packed_attention, params, params.in.max_threads);
}

void Run(NsaSelectAttentionGrad& op) {
  PackedAttentionGradParams params{};
  Fill(op, &params.in);
  CheckValues(op, params.in);
  params.grad = op.grad.data;
  params.attention_out = op.attention_out.data;
  params.softmax_max = op.softmax_max.as<float>();
  params.softmax_sum = op.softmax_sum.as<float>();
  params.softmax_max_grad = op.softmax_max_grad.given_as<float>();
  params.softmax_sum_grad = op.softmax_sum_grad.given_as<float>();
  params.dq = op.dq;
  params.dk = op.dk;
  params.dv = op.dv;
  RunKernel(op, Kernels().packed_attention_grad, params, params.in.max_threads);
}

}  // namespace ms_nsa
