// SPDX-License-Identifier: Apache-2.0
// Elements of one type as those of another, rounded to nearest even.
#pragma once

#include "../params.h"
#include "row_wise.h"

namespace ms_nsa {
namespace {

template <class V, class From, class To>
void CastRows(const CastParams& p) {
  ForEachRow(p.rows, p.max_threads, [&](int64_t r) {
    const auto* from = static_cast<const typename From::Storage*>(p.input) + r * p.width;
    auto* to = static_cast<typename To::Storage*>(p.output) + r * p.width;
    for (int64_t i = 0; i < p.width; i += V::kLanes)
      StoreUpTo<V, To>(to + i, LoadUpTo<V, From>(from + i, p.width - i), p.width - i);
  });
}

template <class V>
void Cast(const CastParams& p) {
  if (p.to == DType::kFloat32) return CastRows<V, Bf16<V>, Fp32<V>>(p);
  CastRows<V, Fp32<V>, Bf16<V>>(p);
}

}  // namespace
}  // namespace ms_nsa
