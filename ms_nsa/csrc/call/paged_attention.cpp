// SPDX-License-Identifier: Apache-2.0
// Selected attention for decoding over a paged cache: checks values, fills parameters, runs the kernel.
#include <algorithm>
#include <vector>

#include "../dispatch.h"
#include "check_values.h"
#include "decode_lengths.h"
#include "errors.h"
#include "mask_data.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

using Infer = NsaSelectedAttentionInfer;

void Fill(const Infer& op, PagedAttentionParams* out) {
  out->query = op.query.data;
  out->key = op.key.data;
  out->value = op.value.data;
  out->topk_indices = op.topk_indices.as<int32_t>();
  out->block_table = op.block_table.as<int32_t>();
  out->atten_mask = MaskData(op.atten_mask);
  out->atten_mask_rows = op.atten_mask.shape.size() == 3 ? op.atten_mask.shape[1] : 0;
  out->atten_mask_cols = op.atten_mask.absent() ? 0 : op.atten_mask.shape.back();
  out->kv_len = op.actual_seq_kvlen.as<int64_t>();
  out->batch = op.B, out->tokens = op.T, out->n1 = op.N1, out->n2 = op.N2, out->d1 = op.D1, out->d2 = op.D2;
  out->num_blocks = op.num_blocks, out->page_block_size = op.page_block_size;
  out->max_blocks = op.max_blocks;
  out->select_block_size = op.select_block_size;
  out->select_block_count = op.select_block_count;
  out->scale_value = ScaleOf(op);
  out->dtype = op.dtype();
  out->heads_first = op.cache_layout == "BNSD";
  out->sparse_mode = static_cast<SparseMode>(op.sparse_mode);
  out->attention_out = op.attention_out;
  out->softmax_max = static_cast<float*>(op.softmax_max);
  out->softmax_sum = static_cast<float*>(op.softmax_sum);
}

void CheckLengthLimits(const Infer& op, const PagedAttentionParams& p) {
  if (op.limits.empty()) return;
  const Quantities shapes = op.LimitQuantities();
  const auto with = [&](Quantities values) {
    values.insert(values.end(), shapes.begin(), shapes.end());  // the first of a name counts
    return values;
  };
  CheckLimits(op.kName, op.limits,
              with({{"selected_rows", p.select_block_size * p.select_block_count},
                    {"max_kv_len", Longest(p.kv_len, p.batch)}}));
  for (int64_t b = 0; b < p.batch; ++b)
    CheckLimits(op.kName, op.limits, with({{"q_len", p.q_len[b]}, {"kv_len", p.kv_len[b]}}));
}

void CheckMask(const Infer& op, const PagedAttentionParams& p) {
  const int64_t max_q = Longest(p.q_len, p.batch);
  if (op.atten_mask.absent()) return;
  if (op.atten_mask.shape.size() == 2)
    return CheckMaskCovers(op.kName, op.atten_mask.shape[0], p.atten_mask_cols, max_q,
                           Longest(p.kv_len, p.batch));
  const int64_t rows = p.atten_mask_rows, cols = p.atten_mask_cols;  // of each sequence's new tokens
  if (rows >= max_q && cols >= max_q) return;
  Fail(op.kName, "atten_mask", Join("cover [B, max Sq, max Sq] with max Sq = ", max_q),
       Join("[", rows, ", ", cols, "]"));
}

// Every page that a selected block of this token touches must exist.
void CheckSelectedPages(const PagedAttentionParams& p, int64_t b, int64_t token) {
  const int32_t* indices = p.topk_indices + token * p.n2 * p.select_block_count;
  for (int64_t i = 0; i < p.n2 * p.select_block_count; ++i) {
    if (indices[i] < 0) continue;
    const int64_t first = indices[i] * p.select_block_size;
    const int64_t last = std::min(first + p.select_block_size, p.kv_len[b]) - 1;
    CheckPages(Infer::kName, p.block_table, p.max_blocks, b, first, last, p.page_block_size, p.num_blocks,
               "where blocks are selected");
  }
}

void CheckBlocks(const PagedAttentionParams& p) {
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t first = p.query_start[b], bound = CeilDiv(p.kv_len[b], p.select_block_size);
    CheckIndices(Infer::kName, p.topk_indices, first, p.q_len[b], p.n2, p.select_block_count, bound);
    for (int64_t token = first; token < first + p.q_len[b]; ++token) CheckSelectedPages(p, b, token);
  }
}

}  // namespace

void Run(NsaSelectedAttentionInfer& op) {
  PagedAttentionParams params{};
  Fill(op, &params);
  const std::vector<int64_t> q_len = QueryLengths(op);
  CheckQueryLengths(op, q_len);
  CheckLengths(op.kName, "actual_seq_kvlen", params.kv_len, op.B, "max_blocks * page_block_size",
               op.max_blocks * op.page_block_size);
  const std::vector<int64_t> query_start = QueryStarts(op, q_len);
  params.q_len = q_len.data();
  params.query_start = query_start.data();
  CheckLengthLimits(op, params);
  CheckMask(op, params);
  CheckBlocks(params);
  RunKernel(op, Kernels().paged_attention, params, params.max_threads);
}

}  // namespace ms_nsa
