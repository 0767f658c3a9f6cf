// SPDX-License-Identifier: Apache-2.0
// Checks of tensor values that several operators share: lengths, indices, page ids, mask extents. They throw
// ArgumentError; after them kernels may trust their parameters.
#pragma once

#include <cstdint>

namespace ms_nsa {

inline int64_t CeilDiv(int64_t a, int64_t b) {
  return a / b + (a % b != 0);
}

// Inclusive prefix sums: they start >= 0, never decrease and end at the number of rows. Returns the length of
// the longest sequence.
int64_t CheckPrefixes(const char* op, const char* name, const int64_t* prefix, int64_t batch,
                      const char* rows_name, int64_t rows);

// Lengths per sequence, from 0 to `most`, which the message calls `most_name`. Returns the longest.
int64_t CheckLengths(const char* op, const char* name, const int64_t* lengths, int64_t batch,
                     const char* most_name, int64_t most);

// A mask for all sequences, [rows, cols]; `extents` is the name in the message of what it must cover.
void CheckCovers(const char* op, const char* name, const char* extents, int64_t rows, int64_t cols,
                 int64_t max_q, int64_t max_cols);
inline void CheckMaskCovers(const char* op, int64_t rows, int64_t cols, int64_t max_q, int64_t max_kv) {
  CheckCovers(op, "atten_mask", "[max Sq, max Sk]", rows, cols, max_q, max_kv);
}

// Block indices of `tokens` tokens of one sequence, [tokens, n2, count] starting at `first_token`; all must
// be below `bound`.
void CheckIndices(const char* op, const int32_t* indices, int64_t first_token, int64_t tokens, int64_t n2,
                  int64_t count, int64_t bound);

[[noreturn]] void FailPage(const char* op, int32_t page, int64_t b, int64_t slot, int64_t num_pages,
                           const char* where);

// Pages of the rows [first, last] of sequence b; `where` says where the rule applies, e.g. "where blocks are
// selected". Inline, because decoding calls it for every block of every token.
inline void CheckPages(const char* op, const int32_t* block_table, int64_t max_blocks, int64_t b,
                       int64_t first, int64_t last, int64_t page_rows, int64_t num_pages, const char* where) {
  const int32_t* table = block_table + b * max_blocks;
  for (int64_t slot = first / page_rows; slot <= last / page_rows; ++slot) {
    if (table[slot] < 0 || table[slot] >= num_pages) FailPage(op, table[slot], b, slot, num_pages, where);
  }
}

}  // namespace ms_nsa
