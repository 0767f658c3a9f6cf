// SPDX-License-Identifier: Apache-2.0
// Rotary positions: elements i and i + D / 2 of a row turn by an angle.
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
    const int64_t angle = r / p.heads * p.width;
    for (int64_t side = 0; side < p.width; side += half) {
      for (int64_t i = 0; i < half; i += V::kLanes) {
        const auto cosine = LoadUpTo<V, Fp32<V>>(p.cosine + angle + side + i, half - i);
        const auto sine = LoadUpTo<V, Fp32<V>>(p.signed_sine + angle + side + i, half - i);
        const auto own = LoadUpTo<V, E>(in + side + i, half - i);
        const auto other = LoadUpTo<V, E>(in + (half - side) + i, half - i);
        StoreUpTo<V, E>(out + side + i, V::Fma(own, cosine, V::Mul(other, sine)), half - i);
      }
    }
  });
}

}  // namespace
}  // namespace ms_nsa
