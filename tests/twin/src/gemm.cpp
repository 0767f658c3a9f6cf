// SPDX-License-Identifier: Apache-2.0
// The cube's arithmetic in float, compiled once with optimisation.
#include "twin/abi.h"

namespace twin {

void MultiplyAccumulate(const float* a, const float* b, float* c, int m, int n, int k) {
  for (int i = 0; i < m; ++i) {
    float* row = c + static_cast<ptrdiff_t>(i) * n;
    for (int l = 0; l < k; ++l) {
      const float factor = a[static_cast<ptrdiff_t>(i) * k + l];
      const float* other = b + static_cast<ptrdiff_t>(l) * n;
      for (int j = 0; j < n; ++j) row[j] += factor * other[j];
    }
  }
}

}  // namespace twin
