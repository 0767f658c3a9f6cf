// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic without <algorithm>, which the device compiler does not have.
#pragma once

#include "aicore.h"

namespace ms_nsa {

template <class T>
MS_NSA_FN constexpr T Min(T a, T b) {
  return a < b ? a : b;
}

template <class T>
MS_NSA_FN constexpr T Max(T a, T b) {
  return a < b ? b : a;
}

template <class T>
MS_NSA_FN constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
MS_NSA_FN constexpr T RoundUp(T a, T unit) {
  return CeilDiv(a, unit) * unit;
}

template <class T>
MS_NSA_FN constexpr T RoundDown(T a, T unit) {
  return a / unit * unit;
}

}  // namespace ms_nsa
