// SPDX-License-Identifier: Apache-2.0
// Sets of bits in 64-bit words, in plain arithmetic without compiler builtins.
#pragma once

#include "aicore.h"

namespace ms_nsa {

MS_NSA_FN int32_t CountOnes(uint64_t word) {
  constexpr uint64_t kTwos = 0x5555555555555555, kFours = 0x3333333333333333, kBytes = 0x0f0f0f0f0f0f0f0f;
  word -= (word >> 1) & kTwos;
  word = (word & kFours) + ((word >> 2) & kFours);
  word = (word + (word >> 4)) & kBytes;
  return static_cast<int32_t>((word * 0x0101010101010101) >> 56);
}

// Number of the lowest set bit; 64 for none.
MS_NSA_FN int32_t LowestOne(uint64_t word) {
  return CountOnes(~word & (word - 1));
}

}  // namespace ms_nsa
