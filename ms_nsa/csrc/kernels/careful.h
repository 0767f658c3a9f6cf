// SPDX-License-Identifier: Apache-2.0
// Products for the rare tile with both hidden keys and non-finite data: only visible pairs enter the product,
// because 0 * NaN would bring hidden data into the result.
#pragma once

#include "../simd/element.h"

namespace ms_nsa {
namespace {

// to[i] += weight * from[i]; to is padded to whole vectors, from is not.
template <class V, class E>
inline void AddScaledRow(float* to, float weight, const typename E::Storage* from, int64_t width) {
  const auto w = V::Set1(weight);
  int64_t i = 0;
  for (; i + V::kLanes <= width; i += V::kLanes)
    V::Store(to + i, V::Fma(w, E::Load(from + i), V::Load(to + i)));
  if (i == width) return;
  V::Store(to + i, V::Fma(w, LoadUpTo<V, E>(from + i, width - i), V::Load(to + i)));
}

template <class F>
inline void ForEachVisible(uint64_t visible, F f) {
  for (; visible != 0; visible &= visible - 1) f(static_cast<int64_t>(__builtin_ctzll(visible)));
}

}  // namespace
}  // namespace ms_nsa
