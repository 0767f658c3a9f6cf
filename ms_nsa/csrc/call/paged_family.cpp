// SPDX-License-Identifier: Apache-2.0
// Compressed attention and sliding-window attention over paged caches: checks values, fills the parameters
// and runs the kernel.
#include <algorithm>
#include <vector>

#include "../dispatch.h"
#include "decode_lengths.h"
#include "op_info.h"
#include "operator.h"
#include "packed_attention.h"
#include "run_kernel.h"
#include "windows.h"

namespace ms_nsa {
namespace {

template <class Operator>
void Fill(const Operator& op, const std::vector<int64_t>& q_len, const std::vector<int64_t>& query_start,
          PagedAttentionParams* out) {
  out->query = op.query.data;
  out->key = op.key.data;
  out->value = op.value.data;
  out->block_table = op.block_table.template as<int32_t>();
  out->q_len = q_len.data();
  out->query_start = query_start.data();
  out->kv_len = op.actual_seq_kvlen.template as<int64_t>();
  out->batch = op.B, out->tokens = op.T, out->n1 = op.N1, out->n2 = op.N2, out->d1 = op.D1, out->d2 = op.D2;
  out->num_blocks = op.num_blocks, out->page_block_size = op.page_block_size;
  out->max_blocks = op.max_blocks;
  out->select_block_size = kKeysTogether;
  out->scale_value = ScaleOf(op);
  out->dtype = op.dtype();
  out->heads_first = op.cache_layout == "BNSD";
  out->sparse_mode = SparseMode::kRightDownCausal;
  out->attention_out = op.attention_out;
  out->softmax_max = static_cast<float*>(op.softmax_max);
  out->softmax_sum = static_cast<float*>(op.softmax_sum);
}

// The pages of cache rows [first, end) of a sequence.
template <class Operator>
void CheckRows(const Operator& op, const PagedAttentionParams& p, int64_t b, int64_t first, int64_t end) {
  if (first >= end) return;
  CheckPages(op.kName, p.block_table, p.max_blocks, b, first, end - 1, p.page_block_size, p.num_blocks,
             "where rows are visible");
}

}  // namespace

void Run(NsaWindowAttentionInfer& op) {
  PagedAttentionParams params{};
  const std::vector<int64_t> q_len = QueryLengths(op), query_start = QueryStarts(op, q_len);
  CheckQueryLengths(op, q_len);
  Fill(op, q_len, query_start, &params);
  const int64_t longest = CheckLengths(op.kName, "actual_seq_kvlen", params.kv_len, op.B,
                                       "max_blocks * page_block_size", op.max_blocks * op.page_block_size);
  params.key_rule = KeyRule::kWindow;
  params.window_size = op.window_size;
  params.select_block_count = MostBlocks(std::min(op.window_size, longest));
  for (int64_t b = 0; b < op.B; ++b) {
    const int64_t limit = params.kv_len[b];
    if (q_len[b] > 0)
      CheckRows(op, params, b, std::max<int64_t>(0, limit - q_len[b] + 1 - op.window_size), limit);
  }
  RunKernel(op, Kernels().paged_attention, params, params.max_threads);
}

void Run(NsaCompressAttentionInfer& op) {
  PagedAttentionParams params{};
  const std::vector<int64_t> q_len = QueryLengths(op), query_start = QueryStarts(op, q_len);
  CheckQueryLengths(op, q_len);
  Fill(op, q_len, query_start, &params);
  // The rows of the cache are windows. Raw rows are not in the cache, so only int32 limits their blocks.
  const int64_t longest =
      CheckLengths(op.kName, "actual_seq_kvlen", params.kv_len, op.B, "2^31 - 1", INT32_MAX);
  const int64_t most = WindowCount(longest, op.compress_block_size, op.compress_stride);
  if (most > op.max_blocks * op.page_block_size)
    Fail(op.kName, "block_table", Join("have pages for ", most, " compressed rows"),
         Join(op.max_blocks, " pages of ", op.page_block_size, " rows"));
  const BlockChoice choice{
      op.select_block_size, op.select_block_count, op.init_blocks, op.local_blocks, nullptr, 0};
  params.key_rule = KeyRule::kCompressed;
  params.compress_block_size = op.compress_block_size, params.compress_stride = op.compress_stride;
  params.select_block_count = MostBlocks(most);
  params.choice = choice.block_count > 0 ? &choice : nullptr;
  params.chosen_indices = static_cast<int32_t*>(op.topk_indices);
  for (int64_t b = 0; b < op.B; ++b) {
    if (q_len[b] == 0) continue;
    CheckRows(op, params, b, 0, WindowCount(params.kv_len[b], op.compress_block_size, op.compress_stride));
  }
  RunKernel(op, Kernels().paged_attention, params, params.max_threads);
}

}  // namespace ms_nsa
