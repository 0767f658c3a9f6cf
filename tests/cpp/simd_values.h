// SPDX-License-Identifier: Apache-2.0
// What simd_test.cpp compares with: sample values, scalar conversions written without the vector layer, and
// the list of operations that gave something wrong.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace simd_test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kTiny = 0x1p-126f;

inline uint32_t Bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Zeros of both signs, limits of every storage type, subnormals, infinities, NaN, ties, then random bits.
inline std::vector<float> Samples() {
  std::vector<float> x;
  for (const float a : {0.0f,     0x1p-149f,  0x1.8p-130f, kTiny,      0x1p-25f,    0x1.000002p-25f,
                        0x1p-24f, 0x1.8p-15f, 0x1p-14f,    0.1f,       0.5f,        0x1.fffffep-1f,
                        1.0f,     0x1.01p0f,  0x1.03p0f,   0x1.002p0f, 1.5f,        2.5f,
                        3.14159f, 4.0f,       1000.25f,    65504.0f,   65519.0f,    65520.0f,
                        65536.0f, 8388607.5f, 16777216.0f, 1e10f,      0x1.fep127f, kMax,
                        kInf}) {
    x.push_back(a);
    x.push_back(-a);
  }
  x.push_back(kNan);
  uint32_t state = 12345;
  while (x.size() < 96) x.push_back(FromBits(state = state * 1664525u + 1013904223u));
  return x;
}

inline float HalfValue(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const float magnitude = exponent == 31  ? (fraction ? kNan : kInf)
                          : exponent == 0 ? std::ldexp(float(fraction), -24)
                                          : std::ldexp(float(1024 + fraction), exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

inline float Bf16Value(uint16_t b) {
  return FromBits(uint32_t{b} << 16);
}

// The nearest number of this many significant bits above 2^least, ties to even.
inline double RoundTo(double x, int significant, int least) {
  int exponent;
  std::frexp(x, &exponent);
  const int last = std::max(exponent - significant, least);
  return std::ldexp(std::nearbyint(std::ldexp(x, -last)), last);
}

inline float AsHalf(float x) {
  if (!std::isfinite(x)) return x;
  const double y = RoundTo(x, 11, -24);
  return std::fabs(y) > 65504 ? std::copysign(kInf, x) : std::copysign(static_cast<float>(y), x);
}

inline float AsBf16(float x) {
  if (!std::isfinite(x)) return x;
  const double y = RoundTo(x, 8, -133);
  return std::fabs(y) > 0x1.fep127 ? std::copysign(kInf, x) : std::copysign(static_cast<float>(y), x);
}

inline bool Same(float a, float b) {
  return Bits(a) == Bits(b) || (std::isnan(a) && std::isnan(b));
}

// Wrong operations, each with its first wrong result.
class Report {
 public:
  void Fail(const char* operation, const std::string& what) { wrong_.emplace(operation, what); }
  void Same(const char* operation, float got, float want) {
    if (!simd_test::Same(got, want)) Values(operation, got, want);
  }
  void Near(const char* operation, float got, double want, double tolerance) {
    if (std::isnan(want) ? std::isnan(got) : got == want || std::fabs(got - want) <= tolerance) return;
    Values(operation, got, want);
  }
  void True(const char* operation, bool right) {
    if (!right) Fail(operation, "does not hold");
  }
  const std::map<std::string, std::string>& wrong() const { return wrong_; }

 private:
  void Values(const char* operation, double got, double want) {
    char text[80];
    std::snprintf(text, sizeof text, "got %.9g, expected %.9g", got, want);
    Fail(operation, text);
  }
  std::map<std::string, std::string> wrong_;
};

}  // namespace simd_test
