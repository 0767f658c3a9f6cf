// SPDX-License-Identifier: Apache-2.0
// What the host tells the kernels whose tokens see a contiguous range of key rows: the sliding window, and
// the compressed rows up to a limit. The bytes of this struct are the operators' tiling data.
#pragma once

#include "attention_params.h"

namespace ms_nsa {

enum KeyRule : int32_t { kWindowRows = 1, kCompressedRows = 2 };

struct DenseParams {
  AttentionParams attention;  // of it: sizes, lengths, atten_mask, scales; chunk_rows is a step
  int64_t topk_mask_rows;     // extents of topk_mask; 0: none
  int64_t topk_mask_cols;
  int64_t window_size;
  int64_t raw_rows;  // of the one sequence, where there are no prefix sums
  int64_t init_blocks;
  int64_t local_blocks;
  int64_t most_blocks;  // select blocks that a sequence may have, a multiple of 8
  int64_t most_steps;   // of a tile
  int64_t tiles;        // no more than these
  int32_t key_rule;
  int32_t compress_block_size;  // l
  int32_t compress_stride;      // d
  int32_t tile_tokens;          // even
  int32_t need_output;          // 0: no attention_out
  int32_t step_blocks;          // select blocks that begin in a step, a multiple of 8; 0: no choice of blocks
  int32_t part_blocks;          // those that windows of a step share rows with, a multiple of 16
  int32_t kv_lens_given;        // 0: of raw rows, those of the queries serve
};

}  // namespace ms_nsa
