// SPDX-License-Identifier: Apache-2.0
// Sums of tensors, in fp32 and in the order of the terms, rounded once.
#pragma once

#include "../params.h"
#include "row_wise.h"

namespace ms_nsa {
namespace {

template <class V, class E>
void Sum(const SumParams& p) {
  using S = typename E::Storage;
  ForEachRow(p.rows, p.max_threads, [&](int64_t r) {
    const int64_t first = r * p.width;
    for (int64_t i = 0; i < p.width; i += V::kLanes) {
      const auto term = [&](int64_t t) {
        return LoadUpTo<V, E>(static_cast<const S*>(p.term[t]) + first + i, p.width - i);
      };
      auto sum = term(0);
      for (int64_t t = 1; t < p.terms; ++t) sum = V::Add(sum, term(t));
      StoreUpTo<V, E>(static_cast<S*>(p.output) + first + i, sum, p.width - i);
    }
  });
}

}  // namespace
}  // namespace ms_nsa
