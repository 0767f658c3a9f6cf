// SPDX-License-Identifier: Apache-2.0
// What a token sees of a stretch of kv rows of its sequence.
#pragma once

#include "segments.h"

namespace ms_nsa {

struct VisibleRows {
  int32_t rows;     // up to the last visible one; 0: none
  uint64_t hidden;  // bit r: row r of these is dropped by the mask; a stretch has at most 64 rows then
};

// Of rows [start, start + whole). Source gives Dropped(index, kv row).
template <class Source>
MS_NSA_FN VisibleRows VisibleOf(const AttentionParams& params, const Source& source, const Segment& segment,
                                int64_t token, int64_t start, int64_t whole) {
  const int64_t rows = Max<int64_t>(Min(segment.Visible(params, token) - start, whole), 0);
  if (params.atten_mask_cols == 0) return {static_cast<int32_t>(rows), 0};
  VisibleRows visible{0, 0};
  uint64_t hidden = 0;
  for (int32_t row = 0; row < rows; ++row) {
    if (source.Dropped(segment.index + token, start + row)) {
      hidden |= uint64_t{1} << row;
    } else {
      visible = {row + 1, hidden};
    }
  }
  return visible;
}

}  // namespace ms_nsa
