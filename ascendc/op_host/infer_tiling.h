// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaSelectedAttentionInfer.
#pragma once

#include "attention_tiling.h"

namespace ms_nsa {

enum class Layout : int32_t { kBsh, kBsnd, kTnd };

struct InferShapes {
  AttentionShapes attention;
  Layout layout;
  int64_t batch;       // rows of block_table
  int64_t leading[2];  // of query: B and S, in TND T and 1
  int64_t num_blocks, page_block_size, max_blocks;
  bool has_q_lens;
  bool statistics;   // softmax_max and softmax_sum are wanted
  bool token_mask;   // atten_mask is one of each sequence, over its new tokens
  bool heads_first;  // a page is [N2, rows, D], not [rows, N2, D]
};

Tiling TileInfer(const InferShapes& shapes, int32_t aic_cores);

}  // namespace ms_nsa
