// SPDX-License-Identifier: Apache-2.0
#include "check_values.h"

#include <algorithm>

#include "errors.h"

namespace ms_nsa {
namespace {

[[noreturn]] void FailIndex(const char* op, int64_t token, int64_t head, int64_t slot, int64_t index,
                            int64_t bound) {
  Fail(op, "topk_indices", Join("be below ceil(Sk / select_block_size) = ", bound),
       Join(index, " at token ", token, ", kv head ", head, ", slot ", slot));
}

bool AnyAtLeast(const int32_t* indices, int64_t count, int64_t bound) {
  int32_t largest = -1;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, indices[i]);
  return largest >= bound;
}

}  // namespace

int64_t CheckPrefixes(const char* op, const char* name, const int64_t* prefix, int64_t batch,
                      const char* rows_name, int64_t rows) {
  int64_t last = 0, longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    if (prefix[b] < last) {
      const char* rule = b == 0 ? "not be negative" : "not decrease";
      Fail(op, name, rule, Join(prefix[b], " at entry ", b, b == 0 ? "" : Join(" after ", last)));
    }
    longest = std::max(longest, prefix[b] - last);
    last = prefix[b];
  }
  if (last != rows) Fail(op, name, Join("end at ", rows_name, " = ", rows), Join(last));
  return longest;
}

int64_t CheckLengths(const char* op, const char* name, const int64_t* lengths, int64_t batch,
                     const char* most_name, int64_t most) {
  int64_t longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    if (lengths[b] < 0 || lengths[b] > most)
      Fail(op, name, Join("be from 0 to ", most_name, " = ", most), Join(lengths[b], " at sequence ", b));
    longest = std::max(longest, lengths[b]);
  }
  return longest;
}

void CheckCovers(const char* op, const char* name, const char* extents, int64_t rows, int64_t cols,
                 int64_t max_q, int64_t max_cols) {
  if (rows >= max_q && cols >= max_cols) return;
  Fail(op, name, Join("cover ", extents, " = [", max_q, ", ", max_cols, "]"),
       Join("[", rows, ", ", cols, "]"));
}

// The fast scan decides whether there is an error; the slow scan finds where.
void CheckIndices(const char* op, const int32_t* indices, int64_t first_token, int64_t tokens, int64_t n2,
                  int64_t count, int64_t bound) {
  const int32_t* begin = indices + first_token * n2 * count;
  if (!AnyAtLeast(begin, tokens * n2 * count, bound)) return;
  const int64_t at =
      std::find_if(begin, begin + tokens * n2 * count, [=](int32_t i) { return i >= bound; }) - begin;
  FailIndex(op, first_token + at / (n2 * count), at / count % n2, at % count, begin[at], bound);
}

void FailPage(const char* op, int32_t page, int64_t b, int64_t slot, int64_t num_pages, const char* where) {
  Fail(op, "block_table", Join("hold page ids from 0 to ", num_pages - 1, " ", where),
       Join(page, " at sequence ", b, ", slot ", slot));
}

}  // namespace ms_nsa
