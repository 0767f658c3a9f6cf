// SPDX-License-Identifier: Apache-2.0
// Prefetches rows that will be needed soon, at the pace of the work. Measured on Zen 4: a core keeps about a
// hundred lines in flight to L2, but only 24 to L1, and drops further prefetches (12 against 8 GB/s). A
// prefetch to L2 is dropped if its page is not in the TLB; one to L1 is not. An Intel processor with AMX
// keeps 16 lines in flight, and what reads L2 waits behind further ones. There the next tile's lines are
// requested one by one in between arithmetic, and rows come to L1 before they are used.
#pragma once

#include "../fetch_lines.h"
#include "../tiling.h"

namespace ms_nsa {
namespace {

// Rows that are fetched while one kv head of a tile is worked on: as many of the next tile as it has.
template <class S>
struct Ahead {
  int64_t count = 0;
  const S* key[kDecodeRows];
  const S* value[kDecodeRows];
};

// Prefetches rows evenly over an amount of work, in the caller's unit.
template <class S>
class PacedPrefetch {
 public:
  PacedPrefetch(const Ahead<S>& ahead, int64_t key_width, int64_t value_width, int64_t work)
      : ahead_(ahead), key_width_(key_width), value_width_(value_width), work_(work) {}

  static constexpr int64_t kRows = 16;  // of a weighted sum between two calls

  // Call before starting this much work.
  void Advance(int64_t, int64_t, int64_t work) {
    done_ += work;
    const int64_t stop = Min(ahead_.count * done_ / work_, ahead_.count);
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
    FetchLines(ahead_.key[i], key_width_ * sizeof(S));
    FetchLines(ahead_.value[i], value_width_ * sizeof(S));
  }

  const Ahead<S>& ahead_;
  const int64_t key_width_, value_width_, work_;
  int64_t done_ = 0, next_ = 0;
};

// Prefetches rows in portions of equally many lines, all keys before the values.
template <class S>
class TilePrefetch {
 public:
  TilePrefetch(const Ahead<S>& ahead, int64_t key_width, int64_t value_width, int64_t portions)
      : row_{ahead.key, ahead.value},
        bytes_{key_width * static_cast<int64_t>(sizeof(S)), value_width * static_cast<int64_t>(sizeof(S))},
        count_(ahead.count),
        portion_(CeilDiv(count_ * (CeilDiv(bytes_[0], kAlignment) + CeilDiv(bytes_[1], kAlignment) + 2),
                         Max(portions, 1))) {}

  [[gnu::always_inline]] inline void NextPortion() {
    for (int64_t left = portion_; left > 0; --left, line_ += kAlignment) {
      if (line_ >= end_ && !NextRow()) return;
      FetchLine<kToL2>(reinterpret_cast<const char*>(line_));
    }
  }

 private:
  bool NextRow() {
    if (next_ == count_) {
      if (list_ == 1 || count_ == 0) return false;
      list_ = 1, next_ = 0;
    }
    line_ = reinterpret_cast<uintptr_t>(row_[list_][next_++]);
    end_ = line_ + bytes_[list_];
    line_ &= ~uintptr_t{kAlignment - 1};
    return true;
  }

  const S* const* const row_[2];
  const int64_t bytes_[2], count_, portion_;
  int64_t next_ = 0;
  int list_ = 0;
  uintptr_t line_ = 0, end_ = 0;  // what is left of a row
};

// One line of every page in which rows begin, so that the TLB has them when the rows are fetched.
template <class S>
inline void TouchPages(const S* const* row, int64_t count) {
  constexpr int kPageBits = 12;
  uintptr_t touched = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uintptr_t page = reinterpret_cast<uintptr_t>(row[i]) >> kPageBits;
    if (page != touched) FetchLine<kToL1>(row[i]);
    touched = page;
  }
}

}  // namespace
}  // namespace ms_nsa
