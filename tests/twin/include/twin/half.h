// SPDX-License-Identifier: Apache-2.0
// half and bfloat16_t: storage types with exact conversion. Arithmetic in scalar code goes through float.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace twin {

inline uint32_t FloatBits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}
inline float BitsFloat(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

inline float HalfToFloat(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00u) return BitsFloat(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // Scaling by 2^112 moves the exponent bias and normalises subnormals in one exact step.
  return BitsFloat(sign | FloatBits(BitsFloat(magnitude << 13) * 0x1p112f));
}

// Round to nearest even; overflow gives infinity.
inline uint16_t FloatToHalf(float f) {
  const uint32_t u = FloatBits(f);
  const uint16_t sign = uint16_t(u >> 16 & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Adding 0.5 leaves the subnormal result, rounded to nearest even, in the low mantissa bits.
    return uint16_t(sign | (FloatBits(BitsFloat(magnitude) + 0.5f) - 0x3f000000u));
  }
  return uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
}

inline float BfloatToFloat(uint16_t b) {
  return BitsFloat(uint32_t(b) << 16);
}

inline uint16_t FloatToBfloat(float f) {
  const uint32_t u = FloatBits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t(u >> 16 | 0x40u);
  return uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

}  // namespace twin

struct half {
  uint16_t bits;
  half() = default;
  template <class A, std::enable_if_t<std::is_arithmetic<A>::value, int> = 0>
  half(A value) : bits(twin::FloatToHalf(static_cast<float>(value))) {}
  operator float() const { return twin::HalfToFloat(bits); }
};
using float16_t = half;

struct bfloat16_t {
  uint16_t bits;
  bfloat16_t() = default;
  template <class A, std::enable_if_t<std::is_arithmetic<A>::value, int> = 0>
  bfloat16_t(A value) : bits(twin::FloatToBfloat(static_cast<float>(value))) {}
  operator float() const { return twin::BfloatToFloat(bits); }
};

namespace AscendC {
inline float ToFloat(const bfloat16_t& value) {
  return value;
}
template <class T>
inline bfloat16_t ToBfloat16(const T& value) {
  return bfloat16_t(static_cast<float>(value));
}
}  // namespace AscendC
