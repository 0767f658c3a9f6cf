// SPDX-License-Identifier: Apache-2.0
// The elements of a mask.
#pragma once

#include "tensor.h"

namespace ms_nsa {

// nullptr only for an absent mask: a given mask without elements may have no memory, but it is checked.
inline const uint8_t* MaskData(const Tensor& mask) {
  static constexpr uint8_t kNoElement = 0;
  if (mask.absent()) return nullptr;
  return mask.data == nullptr ? &kNoElement : mask.as<uint8_t>();
}

}  // namespace ms_nsa
