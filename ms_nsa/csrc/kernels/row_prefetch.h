// Fetching of rows that will be needed soon, at the pace of the work. Measured on Zen 4: a core keeps some
// hundred lines under way to L2 and drops further prefetches, but only 24 to L1 (12 against 8 GB/s). A
// prefetch to L2 whose page is not in the TLB is dropped, one to L1 is not: so a line of each page goes to L1
// first, a phase earlier (with 4 KB pages 70 instead of 100 ns a row where the work is 60), and not all pages
// at once.
#pragma once

#include "buffer.h"

namespace ms_nsa {
namespace {

template <class S>
struct RowList {
  const S* const* row;
  int64_t count, width;
};

// Hands out the lines of some rows, and the pages of others, in equal portions.
template <class S>
class RowPrefetch {
 public:
  RowPrefetch(const RowList<S>& lines, const RowList<S>& pages, int64_t portions)
      : lines_(lines), pages_(pages), portion_(CeilDiv(Max(lines.count, pages.count), portions)) {}

  void NextPortion() {
    for (const int64_t stop = next_ + portion_; next_ < stop; ++next_) {
      if (next_ < pages_.count) TouchPages(pages_.row[next_], pages_.row[next_] + pages_.width - 1);
      if (next_ < lines_.count) FetchLines(lines_.row[next_], lines_.width);
    }
  }

 private:
  static void FetchLines(const S* row, int64_t width) {
    for (int64_t i = 0; i < width; i += kLine / sizeof(S)) __builtin_prefetch(row + i, 0, 2);
  }

  void TouchPages(const S* first, const S* last) {
    if (Page(first) != touched_) __builtin_prefetch(first, 0, 3);
    if (Page(last) != Page(first)) __builtin_prefetch(last, 0, 3);
    touched_ = Page(last);
  }
  static uintptr_t Page(const S* at) { return reinterpret_cast<uintptr_t>(at) / kPage; }

  static constexpr int64_t kLine = 64, kPage = 4096;
  const RowList<S> lines_, pages_;
  const int64_t portion_;
  int64_t next_ = 0;
  uintptr_t touched_ = 0;
};

}  // namespace
}  // namespace ms_nsa
