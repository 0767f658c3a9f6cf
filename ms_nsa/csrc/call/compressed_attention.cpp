// SPDX-License-Identifier: Apache-2.0
// Compressed attention with the choice of blocks for training, and its gradient: checks values, fills the
// parameters and runs the kernel.
#include <algorithm>
#include <vector>

#include "../dispatch.h"
#include "errors.h"
#include "mask_data.h"
#include "op_info.h"
#include "packed_attention.h"
#include "run_kernel.h"
#include "windows.h"

namespace ms_nsa {
namespace {

struct Lengths {
  std::vector<int64_t> compressed_ends;
  int64_t most_tokens, most_rows, most_windows;  // of a sequence
};

template <class Operator>
Lengths Fill(const Operator& op, PackedAttentionInputs* out) {
  FillPacked(op, out);
  const char* name = Operator::kName;
  const int64_t* raw = op.actual_seq_kvlen.template given_as<int64_t>();
  raw = raw == nullptr ? out->actual_seq_qlen : raw;
  Lengths lengths{};
  lengths.most_tokens = CheckPrefixes(name, "actual_seq_qlen", out->actual_seq_qlen, op.B, "T1", op.T1);
  lengths.most_rows = CheckPrefixes(name, "actual_seq_kvlen", raw, op.B, "its last entry", raw[op.B - 1]);
  lengths.most_windows = WindowCount(lengths.most_rows, op.compress_block_size, op.compress_stride);
  lengths.compressed_ends = CompressedEnds(raw, op.B, op.compress_block_size, op.compress_stride);
  const int64_t rows = lengths.compressed_ends.back();
  if (op.T2 < rows) Fail(name, "key", Join("have at least ", rows, " rows"), Join(op.T2));
  if (!op.atten_mask.absent())
    CheckCovers(name, "atten_mask", "[max Sq, max windows]", op.atten_mask.shape[0], op.atten_mask.shape[1],
                lengths.most_tokens, lengths.most_windows);
  out->atten_mask = MaskData(op.atten_mask);
  out->atten_mask_cols = op.atten_mask.absent() ? 0 : op.atten_mask.shape[1];
  out->raw_seq_kvlen = raw;
  out->select_block_count = MostBlocks(lengths.most_windows);
  out->compress_block_size = op.compress_block_size, out->compress_stride = op.compress_stride;
  out->sparse_mode = static_cast<SparseMode>(op.sparse_mode);
  out->key_rule = KeyRule::kCompressed;
  return lengths;
}

}  // namespace

void Run(NsaCompressAttention& op) {
  CompressAttentionParams params{};
  const Lengths lengths = Fill(op, &params.in);
  params.in.actual_seq_kvlen = lengths.compressed_ends.data();
  if (!op.topk_mask.absent())
    CheckCovers(op.kName, "topk_mask", "[max Sq, max blocks]", op.topk_mask.shape[0], op.topk_mask.shape[1],
                lengths.most_tokens, CeilDiv(lengths.most_rows, op.select_block_size));
  params.choice = {op.select_block_size,   op.select_block_count,
                   op.init_blocks,         op.local_blocks,
                   MaskData(op.topk_mask), op.topk_mask.absent() ? 0 : op.topk_mask.shape[1]};
  params.attention_out = op.attention_out;
  params.topk_indices = static_cast<int32_t*>(op.topk_indices);
  params.softmax_max = static_cast<float*>(op.softmax_max);
  params.softmax_sum = static_cast<float*>(op.softmax_sum);
  RunKernel(op, Kernels().compress_attention, params, params.in.max_threads);
}

void Run(NsaCompressAttentionGrad& op) {
  PackedAttentionGradParams params{};
  const Lengths lengths = Fill(op, &params.in);
  params.in.actual_seq_kvlen = lengths.compressed_ends.data();
  FillGrad(op, &params);
  RunKernel(op, Kernels().packed_attention_grad, params, params.in.max_threads);
}

}  // namespace ms_nsa
