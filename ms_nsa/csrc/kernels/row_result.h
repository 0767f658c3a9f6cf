// SPDX-License-Identifier: Apache-2.0
// What one row of attention leaves: its sums divided by the sum of its weights, its statistics, and the rare
// row whose undivided sums are too large for fp32 although the result is not.
#pragma once

#include "../params.h"
#include "../simd/exp.h"
#include "buffer.h"
#include "careful.h"

namespace ms_nsa {
namespace {

// The 8 equal lanes of softmax_max and softmax_sum. A row with NaN scores has NaN in both.
inline void StoreStatistics(float* softmax_max, float* softmax_sum, int64_t row, float max, float sum) {
  if (sum != sum && max != -kNegativeInfinity) max = sum;
  for (int64_t lane = 0; lane < kStatLanes; ++lane) {
    softmax_max[row * kStatLanes + lane] = max;
    softmax_sum[row * kStatLanes + lane] = sum;
  }
}

// Whether a row whose result is not finite may be finite after all: its weights are.
inline bool MayHaveOverflowed(float max, float sum) {
  return sum == sum && max < -kNegativeInfinity;
}

template <class V>
inline float ScalarExp(float x) {
  float lane[V::kLanes];
  V::Store(lane, Exp<V, true>(V::Set1(x)));
  return lane[0];
}

// The same attention with every weight a factor of 2^-40 smaller, which only values near fp32's end can
// afford: sums of 2^40 of them stay finite. for_each_row calls f(key, value) for every visible row, once for
// each time it is listed. Scores are summed in another order than the kernels' own, so the maximum is found
// again as well.
template <class V, class E, class Rows>
inline void AttendScaled(const typename E::Storage* query, int64_t d1, int64_t d2, float scale,
                         Rows for_each_row, float* sums, typename E::Storage* out) {
  using S = typename E::Storage;
  float max = kNegativeInfinity, total = 0.0f;
  for_each_row([&](const S* key, const S*) {
    const float z = scale * DotRows<V, E>(query, key, d1);
    max = max < z ? z : max;
  });
  std::memset(sums, 0, RoundUp(d2, V::kLanes) * sizeof(float));
  for_each_row([&](const S* key, const S* value) {
    const float weight = 0x1p-40f * ScalarExp<V>(scale * DotRows<V, E>(query, key, d1) - max);
    total += weight;
    AddScaledRow<V, E>(sums, weight, value, d2);
  });
  StoreRow<V, E>(out, sums, d2, total);
}

}  // namespace
}  // namespace ms_nsa
