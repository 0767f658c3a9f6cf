// Fetching of rows that will be needed soon, at the pace of the work. What was measured on Zen 4: a core
// keeps some hundred lines under way to L2 and drops further prefetches, and only 24 to L1 (12 against 8
// GB/s); a prefetch to L2 whose page is not in the TLB is dropped, one to L1 is not.
#pragma once

#include "buffer.h"

namespace ms_nsa {
namespace {

template <class S>
class ScatteredPrefetch {
 public:
  // The rows are handed to the memory in so many equal portions.
  ScatteredPrefetch(const S* const* row, int64_t count, int64_t width, int64_t portions)
      : row_(row), end_(row + count), portion_(CeilDiv(count, Max(portions, 1))), bytes_(width * sizeof(S)) {}

  void NextPortion() {
    const S* const* stop = row_ + Min(portion_, end_ - row_);
    for (; row_ < stop; ++row_) {
      const char* line = reinterpret_cast<const char*>(*row_);
      for (int64_t i = 0; i < bytes_; i += 64) __builtin_prefetch(line + i, 0, 2);
    }
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

// Two lists of rows, evenly over an amount of work whose unit is the caller's.
template <class S>
class PacedPrefetch {
 public:
  PacedPrefetch(const RowList<S>& first, const RowList<S>& second, int64_t work)
      : first_(first), second_(second), count_(Max(first.count, second.count)), work_(work) {}

  // Before so much work begins.
  void Advance(int64_t work) {
    done_ += work;
    const int64_t stop = Min(count_ * done_ / work_, count_);
    for (; next_ < stop; ++next_) {
      if (next_ < first_.count) Fetch(first_.row[next_], first_.width);
      if (next_ < second_.count) Fetch(second_.row[next_], second_.width);
    }
  }

 private:
  static void Fetch(const S* row, int64_t width) {
    const char* line = reinterpret_cast<const char*>(row);
    for (int64_t i = 0; i < width * static_cast<int64_t>(sizeof(S)); i += 64)
      __builtin_prefetch(line + i, 0, 2);
  }

  const RowList<S> first_, second_;
  const int64_t count_, work_;
  int64_t done_ = 0, next_ = 0;
};

// One line of every page in which the rows lie, so that the TLB has them when their rows are fetched.
template <class S>
inline void TouchPages(const S* const* row, int64_t count, int64_t width) {
  constexpr int kPageBits = 12;
  uintptr_t touched = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (const S* at : {row[i], row[i] + width - 1}) {
      const uintptr_t page = reinterpret_cast<uintptr_t>(at) >> kPageBits;
      if (page != touched) __builtin_prefetch(at, 0, 3);
      touched = page;
    }
  }
}

}  // namespace
}  // namespace ms_nsa
