// What the host tells the paged inference kernel: the bytes of this struct are the operator's tiling data.
#pragma once

#include <cstdint>

namespace ms_nsa {

enum SparseMode : int32_t { kAllRows = 0, kLeftUpCausal = 2, kRightDownCausal = 3 };

struct InferParams {
  int64_t batch;
  int64_t tokens;               // token rows of query: B * S, in layout TND T
  int64_t tokens_per_sequence;  // S; 0 in layout TND, where actual_seq_qlen tells them apart
  int64_t num_blocks;           // pages of the cache
  int64_t max_blocks;           // columns of block_table
  int64_t atten_mask_cols;      // row stride of atten_mask; 0: no mask
  int32_t kv_heads;             // N2
  int32_t group;                // G, query heads of a kv head
  int32_t d1;                   // width of query and key
  int32_t d2;                   // width of value and attention_out
  int32_t select_block_size;
  int32_t select_block_count;
  int32_t page_block_size;
  int32_t sparse_mode;  // kLeftUpCausal limits token i to rows j <= i; the others add nothing
  int32_t has_q_lens;   // 0: S tokens a sequence, in TND one
  int32_t chunk_rows;   // kv rows of one pipeline step
  float scale_value;
  int32_t reserved;
};

}  // namespace ms_nsa
