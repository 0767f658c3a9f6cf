// SPDX-License-Identifier: Apache-2.0
// Cache rows in scratch memory, where their place or length does not suit the loops.
#pragma once

#include "../pack.h"

namespace ms_nsa {
namespace {

// Lets rows whose width is not whole vectors end in zeros, in copies: loads beyond a row would reach its
// neighbour. Where the width is whole, rows stay where they are.
template <class S>
class PaddedRows {
 public:
  PaddedRows(Arena& arena, int64_t max_rows, int64_t width, int64_t padded)
      : width_(width),
        padded_(padded),
        zeros_(arena.Take<S>(padded)),
        copy_(arena.Take<S>(width == padded ? 0 : max_rows * padded)) {}

  // Redirects count rows, and points rows [count, end) at zeros.
  void Pad(const S** row, int64_t count, int64_t end) const {
    if (end > count) std::memset(zeros_, 0, padded_ * sizeof(S));
    for (int64_t i = count; i < end; ++i) row[i] = zeros_;
    if (width_ == padded_) return;
    for (int64_t i = 0; i < count; ++i) {
      S* copy = copy_ + i * padded_;
      std::memcpy(copy, row[i], width_ * sizeof(S));
      std::memset(copy + width_, 0, (padded_ - width_) * sizeof(S));
      row[i] = copy;
    }
  }

 private:
  const int64_t width_, padded_;
  S* zeros_;
  S* copy_;
};

constexpr int kUnrolledLoads = 16;

// Calls f(place) for places 0, step, 2 step ... below end, each from instructions of its own. One load in a
// loop would look like a stream to the processor, which then fetches what follows each row in memory, other
// heads' rows (Zen 4, without arithmetic: 110 instead of 53 ns a row).
template <class F>
inline void ForEachPlace(int64_t end, int64_t step, F f) {
  for (int64_t first = 0; first < end; first += kUnrolledLoads * step) {
#pragma GCC unroll 16
    for (int i = 0; i < kUnrolledLoads; ++i) {
      if (first + i * step >= end) break;
      f(first + i * step);
    }
  }
}

}  // namespace
}  // namespace ms_nsa
