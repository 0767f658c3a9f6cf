// SPDX-License-Identifier: Apache-2.0
// A token row of query, and the kv rows that it may see.
#pragma once

#include <cstdint>

namespace ms_nsa {

struct Token {
  int64_t row;        // of query, attention_out and topk_indices
  int64_t sequence;   // of block_table and the lengths
  int64_t index;      // inside its sequence
  int64_t visible;    // it sees kv rows of its sequence below this; 0 for a row that no sequence owns
  int64_t kv_start;   // packed: first kv row of its sequence
  int64_t new_start;  // paged: kv row of its sequence's first new token; below 0 if the rows are fewer
};

}  // namespace ms_nsa
