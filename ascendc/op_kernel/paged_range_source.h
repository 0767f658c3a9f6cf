// SPDX-License-Identifier: Apache-2.0
// What the schedule reads in GM where a token sees one range of rows of a paged cache.
#pragma once

#include "gm_source.h"
#include "paged_range_params.h"
#include "row_walk.h"

namespace ms_nsa {

class PagedRangeSource : public GmSource {
 public:
  static constexpr bool kPaged = true;
  using Tokens = PagedTokens<PagedRangeSource>;

  __aicore__ inline PagedRangeSource(const PagedRangeParams& params, const AttentionAddresses& gm)
      : GmSource(params.attention, gm), range_(params) {}

  __aicore__ inline RowRange RangeOf(const Token& token) const { return RowsOfToken(range_, token); }

  __aicore__ inline int64_t CacheStride(int32_t width) const {
    return range_.heads_first ? width : GmSource::CacheStride(width);
  }
  // A run of rows never leaves its page.
  __aicore__ inline int64_t CacheOffset(int64_t row, int32_t head, int32_t width) const {
    if (!range_.heads_first) return GmSource::CacheOffset(row, head, width);
    const int64_t page_rows = range_.attention.page_block_size, page = row / page_rows;
    return ((page * range_.attention.kv_heads + head) * page_rows + row % page_rows) * width;
  }

 protected:
  const PagedRangeParams& range_;
};

template <>
constexpr bool kSeesRange<PagedRangeSource> = true;

}  // namespace ms_nsa
