// SPDX-License-Identifier: Apache-2.0
// Tiling data of the toy operator.
#pragma once

#include <cstdint>

namespace ms_nsa {

struct ToyScaleParams {
  int64_t size;
  float scale_value;
};

}  // namespace ms_nsa
