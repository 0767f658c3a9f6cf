// Fetching of rows that will be needed soon, at the pace of the work. Measured on Zen 4: a core keeps some
// hundred lines under way to L2 and drops further prefetches, but only 24 to L1 (12 against 8 GB/s). A
// prefetch to L2 whose page is not in the TLB is dropped, so a line of each page goes to L1 a phase earlier.
// That one waits for the page walk; many at once share the wait (16 heads: 98 ns a row, 108 one by one).
#pragma once

#include "buffer.h"

namespace ms_nsa {
namespace {

template <class S>
struct RowList {
  const S* const* row;
  int64_t count, width;
};

// Touches the pages of some rows and hands out the lines of others in equal portions.
template <class S>
class ScatteredPrefetch {
 public:
  ScatteredPrefetch(const RowList<S>& lines, const RowList<S>& pages, int64_t portions)
      : lines_(lines), portion_(CeilDiv(lines.count, portions)) {
    uintptr_t touched = 0;
    for (int64_t i = 0; i < pages.count; ++i) {
      Touch(pages.row[i], touched);
      Touch(pages.row[i] + pages.width - 1, touched);
    }
  }

  void NextPortion() {
    const int64_t stop = Min(next_ + portion_, lines_.count);
    for (; next_ < stop; ++next_) {
      const S* row = lines_.row[next_];
      for (int64_t i = 0; i < lines_.width; i += kLine / sizeof(S)) __builtin_prefetch(row + i, 0, 2);
    }
  }

 private:
  static void Touch(const S* at, uintptr_t& touched) {
    const uintptr_t page = reinterpret_cast<uintptr_t>(at) / kPage;
    if (page != touched) __builtin_prefetch(at, 0, 3);
    touched = page;
  }

  static constexpr int64_t kLine = 64, kPage = 4096;
  const RowList<S> lines_;
  const int64_t portion_;
  int64_t next_ = 0;
};

}  // namespace
}  // namespace ms_nsa
