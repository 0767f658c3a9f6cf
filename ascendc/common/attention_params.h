// SPDX-License-Identifier: Apache-2.0
// The tiling data of the attention kernels: the host fills this struct and passes its bytes.
#pragma once

#include <cstdint>

namespace ms_nsa {

enum SparseMode : int32_t { kAllRows = 0, kLeftUpCausal = 2, kRightDownCausal = 3 };

struct AttentionParams {
  int64_t batch;
  int64_t tokens;               // token rows of query
  int64_t tokens_per_sequence;  // paged, not TND: S; else 0, and actual_seq_qlen tells sequences apart
  int64_t kv_rows;              // training: T2
  int64_t num_blocks;           // paged: pages of the cache
  int64_t max_blocks;           // paged: columns of block_table; training: select blocks of kv_rows
  int64_t atten_mask_rows;      // extents of atten_mask; 0: no mask
  int64_t atten_mask_cols;
  int32_t kv_heads;  // N2
  int32_t group;     // G, query heads of a kv head
  int32_t d1;        // width of query and key
  int32_t d2;        // width of value and attention_out
  int32_t select_block_size;
  int32_t select_block_count;
  int32_t page_block_size;  // paged
  int32_t sparse_mode;
  int32_t has_q_lens;      // 0: paged, S tokens a sequence (TND: one); training, one sequence
  int32_t has_kv_lens;     // 0: training, one sequence
  int32_t chunk_rows;      // kv rows of one pipeline step
  int32_t bundles;         // token-outer: of the unit that has most (row_pieces.h)
  int32_t segment_tokens;  // training: block-outer, tokens per segment; 0: token-outer
  int32_t has_max_grad;    // gradient: softmax_max_grad is given
  int32_t has_sum_grad;    // likewise softmax_sum_grad
  int32_t statistics;      // forward: softmax_max and softmax_sum are wanted
  int32_t token_mask;      // paged: atten_mask is one of each sequence, over its new tokens
  int32_t heads_first;     // paged: a page is [N2, rows, D], not [rows, N2, D]
  int32_t piece_tiles;     // gradient: what writing and adding a piece's gradients costs is spread over these
  float scale_value;
  float weight_scale;  // bfloat16: what the cube multiplies are weights times this, a power of 2, so that
                       // sums of values near the largest finite number stay finite
  int32_t debug;       // 1: what the rules forbid is looked for and left in first_error (first_error.h)
};

}  // namespace ms_nsa
