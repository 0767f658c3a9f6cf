// SPDX-License-Identifier: Apache-2.0
// Prefetches rows that will be needed soon, at the pace of the work. Measured on Zen 4: a core keeps about a
// hundred lines in flight to L2, but only 24 to L1, and drops further prefetches (12 against 8 GB/s). A
// prefetch to L2 is dropped if its page is not in the TLB; one to L1 is not.
#pragma once

#include "../fetch_lines.h"

namespace ms_nsa {
namespace {

template <class S>
class ScatteredPrefetch {
 public:
  // The rows are prefetched in `portions` equal portions.
  ScatteredPrefetch(const S* const* row, int64_t count, int64_t width, int64_t portions)
      : row_(row), end_(row + count), portion_(CeilDiv(count, Max(portions, 1))), bytes_(width * sizeof(S)) {}

  void NextPortion() {
    const S* const* stop = row_ + Min(portion_, end_ - row_);
    for (; row_ < stop; ++row_) FetchLines(*row_, bytes_);
  }
  void Advance(int64_t) { NextPortion(); }  // the interface of PacedPrefetch

 private:
  const S* const* row_;
  const S* const* end_;
  int64_t portion_, bytes_;
};

template <class S>
struct RowList {
  const S* const* row;
  int64_t count, width;
};

// Prefetches two lists of rows evenly over an amount of work, in the caller's unit.
template <class S>
class PacedPrefetch {
 public:
  PacedPrefetch(const RowList<S>& first, const RowList<S>& second, int64_t work)
      : first_(first), second_(second), count_(Max(first.count, second.count)), work_(work) {}

  // Call before starting this much work.
  void Advance(int64_t work) {
    done_ += work;
    const int64_t stop = Min(count_ * done_ / work_, count_);
    for (; next_ < stop; ++next_) {
      Fetch(next_);
      if (next_ >= kAgain) Fetch(next_ - kAgain);
    }
  }

 private:
  // Number of rows after which a row is requested again, because the core may have dropped some of its lines
  // (3 to 7 % of decode at 16 heads per group; 4, 8, 16 and 32 rows differ by 1 %).
  static constexpr int64_t kAgain = 16;

  void Fetch(int64_t i) const {
    if (i < first_.count) FetchLines(first_.row[i], first_.width * sizeof(S));
    if (i < second_.count) FetchLines(second_.row[i], second_.width * sizeof(S));
  }

  const RowList<S> first_, second_;
  const int64_t count_, work_;
  int64_t done_ = 0, next_ = 0;
};

// One line of every page in which rows begin, so that the TLB has them when the rows are fetched.
template <class S>
inline void TouchPages(const S* const* row, int64_t count) {
  KeepCalls();
  constexpr int kPageBits = 12;
  uintptr_t touched = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uintptr_t page = reinterpret_cast<uintptr_t>(row[i]) >> kPageBits;
    if (page != touched) __builtin_prefetch(row[i], 0, 3);
    touched = page;
  }
}

}  // namespace
}  // namespace ms_nsa
