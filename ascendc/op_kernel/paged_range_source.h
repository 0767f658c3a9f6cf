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

 protected:
  const PagedRangeParams& range_;
};

template <>
constexpr bool kSeesRange<PagedRangeSource> = true;

}  // namespace ms_nsa
