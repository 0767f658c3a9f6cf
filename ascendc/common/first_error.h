// SPDX-License-Identifier: Apache-2.0
// Debugging: the first length, mask, index or page that breaks a documented rule. A kernel cannot raise an
// error. It writes this record to the output first_error, and Python raises the error
// (ms_nsa/primitive/first_error.py).
#pragma once

#include <cstdint>

namespace ms_nsa {

enum class BrokenRule : int64_t {
  kNone,
  kNegative,    // the first prefix sum
  kFalls,       // a prefix sum below the one before
  kEnd,         // the last prefix sum is not the number of rows
  kRange,       // a sequence's length beyond 0 to bound
  kSum,         // lengths of all sequences are not the number of rows
  kMask,        // atten_mask smaller than the longest sequences
  kIndex,       // a select block behind the sequence
  kPage,        // a page beyond the cache under rows that are read
  kTokenMask,   // atten_mask over new tokens smaller than the most of them
  kWindows,     // compression: more windows than rows for them
  kSlots,       // paged compression: more new windows of a sequence than slots
  kFewPages,    // decode over compressed rows: fewer pages in block_table than a sequence has rows for
  kChoiceMask,  // topk_mask smaller than the longest sequences
};

struct FirstError {  // a cache line
  BrokenRule rule;
  int64_t of_keys;   // a length: 1 for actual_seq_kvlen, 2 for actual_seq_len, else 0
  int64_t where[3];  // sequence; kFalls: and the sum before; kMask: longest query, longest key; kChoiceMask:
                     // longest query, most blocks; kTokenMask: longest query; kIndex: token, kv head, slot;
                     // kPage: sequence, slot; kSlots: sequence; kFewPages: rows
  int64_t value, bound;  // masks: the rows and columns that there are; kFewPages: pages, rows of
                         // each
  int64_t unused;
};
static_assert(sizeof(FirstError) == 64, "a cache line");

}  // namespace ms_nsa
