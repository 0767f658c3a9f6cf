// SPDX-License-Identifier: Apache-2.0
// What atten_mask's extents mean for a token: a query or kv row beyond them counts as dropped.
#pragma once

#include "attention_params.h"
#include "integers.h"

namespace ms_nsa {

// Of `visible` rows of its sequence, those that token number `index` of it sees at most. Lengths are known on
// the device alone, so that a mask may turn out too small here; nothing is read beyond what this leaves.
MS_NSA_FN int64_t VisibleInMask(const AttentionParams& params, int64_t index, int64_t visible) {
  if (params.atten_mask_cols == 0) return visible;
  return index < params.atten_mask_rows ? Min(visible, params.atten_mask_cols) : 0;
}

}  // namespace ms_nsa
