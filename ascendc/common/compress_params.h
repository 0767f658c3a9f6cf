// SPDX-License-Identifier: Apache-2.0
// What the host tells the kernels of compression: the bytes of this struct are the operators' tiling data.
#pragma once

#include "integers.h"
#include "windows.h"

namespace ms_nsa {

struct CompressParams {
  int64_t batch;
  int64_t rows;        // packed: T2
  int64_t windows;     // packed: rows of output or grad
  int64_t num_blocks;  // paged: pages of the cache
  int64_t max_blocks;  // paged: columns of block_table
  int64_t slots;       // paged: slots of a sequence
  int32_t kv_heads;
  int32_t head_dim;
  int32_t compress_block_size;
  int32_t compress_stride;
  int32_t page_block_size;  // paged
  int32_t heads_first;      // paged: the heads' rows lie apart (BNSD)
  int32_t has_weight;       // 0: the mean
  int32_t has_lens;         // packed, 0: one sequence
  int32_t has_q_lens;       // paged, 0: one new row each
  int32_t part_heads;       // heads that are worked on together
  int32_t slice_rows;       // every window begins and ends with a slice of so many rows
  int32_t sum_rows;         // rows of a slice that are summed side by side, a power of 2; gradient: 0
  int32_t piece_slices;     // gradient: after so many slices the weight's partial sums are put down
  int32_t debug;            // 1: what the rules forbid is looked for and left in first_error (first_error.h)
};

MS_NSA_FN int32_t SlicesOfWindow(const CompressParams& p) {
  return p.compress_block_size / p.slice_rows;
}
MS_NSA_FN int32_t SlicesOfStride(const CompressParams& p) {
  return p.compress_stride / p.slice_rows;
}

// Most windows that share a row.
MS_NSA_FN int32_t LiveWindows(const CompressParams& p) {
  return CeilDiv(p.compress_block_size, p.compress_stride);
}

// Parts of heads: the last one lies over the end of the one before, so that all have equally many.
MS_NSA_FN int32_t PartsOf(const CompressParams& p) {
  return CeilDiv(p.kv_heads, p.part_heads);
}
MS_NSA_FN int32_t FirstHead(const CompressParams& p, int32_t part) {
  return Min(part * p.part_heads, p.kv_heads - p.part_heads);
}
// Of a part's heads, those that the part before has already.
MS_NSA_FN int32_t HeadsDone(const CompressParams& p, int32_t part) {
  return part * p.part_heads - FirstHead(p, part);
}

}  // namespace ms_nsa
