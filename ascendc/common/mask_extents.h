// SPDX-License-Identifier: Apache-2.0
// The effect of the extents of atten_mask on a token: a query or kv row beyond them is hidden.
#pragma once

#include "attention_params.h"
#include "integers.h"

namespace ms_nsa {

// Of `visible` rows of its sequence, those that token number `index` of it sees at most; the mask's first
// column stands for row `start`. Lengths are known on the device alone, so that a mask may turn out too small
// here; nothing is read beyond what this leaves.
MS_NSA_FN int64_t VisibleInMask(const AttentionParams& params, int64_t index, int64_t visible,
                                int64_t start = 0) {
  if (params.atten_mask_cols == 0) return visible;
  if (index >= params.atten_mask_rows) return 0;
  return Max<int64_t>(Min(visible, start + params.atten_mask_cols), 0);
}

}  // namespace ms_nsa
