// SPDX-License-Identifier: Apache-2.0
// What the host tells the decode kernels whose tokens see one range of rows of a paged cache: the sliding
// window, and attention over compressed rows. The bytes of this struct are the operators' tiling data.
#pragma once

#include "attention_params.h"
#include "integers.h"
#include "row_pieces.h"
#include "token.h"
#include "windows.h"

namespace ms_nsa {

struct PagedRangeParams {
  AttentionParams attention;    // of it: sizes, lengths, pages, scales, a step's rows
  int64_t window_size;          // raw rows that a token sees, its own included; 0: compressed rows
  int64_t compress_block_size;  // l
  int64_t compress_stride;      // d
  int64_t init_blocks;          // compressed rows: select blocks that are chosen in any case
  int64_t local_blocks;
  int64_t most_blocks;   // select blocks that rows with a page may lie in
  int64_t score_floats;  // compressed rows: of a row of kept scores
  int64_t scores_at;     // their place in the workspace, in bytes
  int64_t round_tokens;  // so many tokens have kept scores at a time
};

// Scores are kept from the steps of a round until its blocks are chosen. An AIC goes on when its own AIVs
// have chosen; others may still be at it.
constexpr int64_t kScoreRounds = 2;

// The rows of the cache that a token sees, counted inside its sequence. No sequence has more than its pages
// hold.
MS_NSA_FN RowRange RowsOfToken(const PagedRangeParams& p, const Token& token) {
  const int64_t most = p.attention.max_blocks * p.attention.page_block_size;
  if (p.window_size > 0) return {Max<int64_t>(token.visible - p.window_size, 0), Min(token.visible, most)};
  return {0, Min(WindowCount(token.visible, p.compress_block_size, p.compress_stride), most)};
}

}  // namespace ms_nsa
