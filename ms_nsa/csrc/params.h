// SPDX-License-Identifier: Apache-2.0
// The contract between the binding and the kernels: shapes, strides by convention (dense, row-major),
// nullability.
#pragma once

#include <cstdint>

namespace ms_nsa {

enum class DType : int32_t { kFloat16, kBFloat16, kFloat32 };

enum class SparseMode : int32_t {
  kAll = 0,             // no causal rule
  kLeftUpCausal = 2,    // kv row j is visible to query s when j <= s
  kRightDownCausal = 3  // kv row j is visible to query s when j <= s + Sk - Sq
};

// What the training forward and its gradient share. Layout TND: sequences lie one after another.
struct SelectAttentionInputs {
  const void* query;            // [t1, n1, d1]
  const void* key;              // [t2, n2, d1]
  const void* value;            // [t2, n2, d2]
  const int32_t* topk_indices;  // [t1, n2, select_block_count], block number inside the token's own sequence;
                                // < 0: absent
  const uint8_t* atten_mask;    // [>= max Sq, atten_mask_cols >= max Sk], non-zero = drop; nullptr: no mask
  const int64_t* actual_seq_qlen;   // [batch], inclusive prefix sums, last == t1; never nullptr
  const int64_t* actual_seq_kvlen;  // [batch], inclusive prefix sums, last == t2; never nullptr
  int64_t batch, t1, t2, n1, n2, d1, d2;
  int64_t select_block_size, select_block_count;
  int64_t atten_mask_cols;  // row stride of atten_mask; 0 without a mask
  int64_t max_threads;      // 0: no limit (thread_number.h)
  float scale_value;
  DType dtype;  // of query, key, value, attention_out, grad, dq, dk, dv
  SparseMode sparse_mode;
};

struct SelectAttentionParams {
  SelectAttentionInputs in;
  void* attention_out;  // [t1, n1, d2]
  float* softmax_max;   // [t1, n1, kStatLanes], the value repeated
  float* softmax_sum;   // [t1, n1, kStatLanes]
};

struct SelectAttentionGradParams {
  SelectAttentionInputs in;
  const void* grad;           // [t1, n1, d2], gradient of attention_out
  const void* attention_out;  // [t1, n1, d2]
  const float* softmax_max;   // [t1, n1, kStatLanes], lane 0 is read
  const float* softmax_sum;   // [t1, n1, kStatLanes]
  // [t1, n1, kStatLanes], gradients of the statistics, of which the lanes are summed; nullptr: zeros
  const float* softmax_max_grad;
  const float* softmax_sum_grad;
  void* dq;  // [t1, n1, d1]
  void* dk;  // [t2, n2, d1]
  void* dv;  // [t2, n2, d2]
};

// Decode over a paged cache. The three layouts differ only in where a sequence's tokens start, so the binding
// turns them into query_start and the kernel sees token rows.
struct PagedAttentionParams {
  const void* query;            // [tokens, n1, d1]
  const void* key;              // [num_blocks, page_block_size, n2, d1]
  const void* value;            // [num_blocks, page_block_size, n2, d2]
  const int32_t* topk_indices;  // [tokens, n2, select_block_count]; < 0: absent
  const int32_t*
      block_table;  // [batch, max_blocks]; only the first ceil(kv_len / page_block_size) entries are read
  // Non-zero = drop; nullptr: no mask. [>= max q_len, atten_mask_cols >= max kv_len] for all sequences, or
  // [batch, atten_mask_rows, atten_mask_cols], both >= max q_len, whose columns are a sequence's new tokens.
  const uint8_t* atten_mask;
  const int64_t* query_start;  // [batch], first token row of the sequence
  const int64_t* q_len;   // [batch], tokens of the sequence; rows owned by no sequence are written as zeros
  const int64_t* kv_len;  // [batch], rows of the sequence in the cache; token i sees kv_len - (q_len - 1 - i)
  int64_t batch, tokens, n1, n2, d1, d2;
  int64_t num_blocks, page_block_size, max_blocks;
  int64_t select_block_size, select_block_count;
  int64_t atten_mask_rows;  // 0 for one mask of all sequences
  int64_t atten_mask_cols;
  int64_t max_threads;  // 0: no limit (thread_number.h)
  float scale_value;
  DType dtype;
  SparseMode sparse_mode;  // kLeftUpCausal further limits token i to rows j <= i; the others add nothing
  void* attention_out;     // [tokens, n1, d2]
  float* softmax_max;      // [tokens, n1, kStatLanes], the value repeated; nullptr: not wanted
  float* softmax_sum;      // likewise
};

constexpr int64_t kStatLanes = 8;

}  // namespace ms_nsa
