// SPDX-License-Identifier: Apache-2.0
// Rotary positions: elements i and i + D / 2 of a row turn by one angle.
#pragma once

#include "../params.h"
#include "row_wise.h"

namespace ms_nsa {
namespace {

template <class V, class E>
void Rotate(const RotateParams& p) {
  using S = typename E::Storage;
  const int64_t half = p.width / 2;
  ForEachRow(p.tokens * p.heads, p.max_threads, [&](int64_t r) {
    const S* in = static_cast<const S*>(p.input) + r * p.width;
    S* out = static_cast<S*>(p.output) + r * p.width;
    const int64_t angle = r / p.heads * half;
    for (int64_t i = 0; i < half; i += V::kLanes) {
      const auto cosine = LoadUpTo<V, Fp32<V>>(p.cosine + angle + i, half - i);
      const auto sine = LoadUpTo<V, Fp32<V>>(p.sine + angle + i, half - i);
      const auto left = LoadUpTo<V, E>(in + i, half - i), right = LoadUpTo<V, E>(in + half + i, half - i);
      const auto minus_sine = V::Sub(V::Zero(), sine);
      StoreUpTo<V, E>(out + i, V::Fma(left, cosine, V::Mul(right, minus_sine)), half - i);
      StoreUpTo<V, E>(out + half + i, V::Fma(right, cosine, V::Mul(left, sine)), half - i);
    }
  });
}

}  // namespace
}  // namespace ms_nsa
