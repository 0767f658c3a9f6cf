// SPDX-License-Identifier: Apache-2.0
// Vector type without intrinsics: four lanes in an array, for any compiler and processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace ms_nsa {
namespace {

struct Scalar {
  static constexpr int kLanes = 4;
  static constexpr int kTileRows = 2;
  static constexpr int kTileVectors = 2;
  static constexpr bool kHasFraction = false;

  struct Reg {
    float lane[kLanes];
  };
  struct Mask {
    bool lane[kLanes];
  };

  template <class F>
  static Reg Map(F f) {
    Reg r;
    for (int i = 0; i < kLanes; ++i) r.lane[i] = f(i);
    return r;
  }

  static Reg Zero() { return Set1(0.0f); }
  static Reg Set1(float x) {
    return Map([=](int) { return x; });
  }
  static Reg Load(const float* p) {
    Reg r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static void Store(float* p, Reg x) { std::memcpy(p, &x, sizeof x); }
  static Reg Add(Reg a, Reg b) {
    return Map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Reg Sub(Reg a, Reg b) {
    return Map([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static Reg Mul(Reg a, Reg b) {
    return Map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Reg Div(Reg a, Reg b) {
    return Map([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static Reg Fma(Reg a, Reg b, Reg c) {
    return Map([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  // The larger of the two; NaN in the second argument is kept.
  static Reg Max(Reg a, Reg b) {
    return Map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Mask MaskFromBits(uint32_t bits) {
    Mask m;
    for (int i = 0; i < kLanes; ++i) m.lane[i] = (bits >> i) & 1;
    return m;
  }
  // Lanes with a >= b as bits; none for NaN.
  static uint32_t AtLeast(Reg a, Reg b) {
    uint32_t bits = 0;
    for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(a.lane[i] >= b.lane[i]) << i;
    return bits;
  }
  static Reg Select(Mask m, Reg yes, Reg no) {
    return Map([&](int i) { return m.lane[i] ? yes.lane[i] : no.lane[i]; });
  }
  static float ReduceMax(Reg a) {
    float m = a.lane[0];
    for (int i = 1; i < kLanes; ++i) m = a.lane[i] > m ? a.lane[i] : m;
    return m;
  }
  static float ReduceAdd(Reg a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }
  static Reg Round(Reg a) {
    return Map([&](int i) { return std::nearbyint(a.lane[i]); });
  }
  // x * 2^n for integral n from kLeastPower, which gives 0, to 127.
  static constexpr float kLeastPower = -127;
  static Reg ScaleByPowerOf2(Reg x, Reg n) {
    return Map([&](int i) {
      if (std::isnan(n.lane[i])) return n.lane[i];
      return n.lane[i] == kLeastPower ? 0.0f : std::ldexp(x.lane[i], static_cast<int>(n.lane[i]));
    });
  }
  static void Transpose(Reg* r) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < i; ++j) {
        const float t = r[i].lane[j];
        r[i].lane[j] = r[j].lane[i];
        r[j].lane[i] = t;
      }
    }
  }
  // a: the even lanes of both, one after another; b: the odd lanes.
  static void Deinterleave(Reg& a, Reg& b) {
    const float both[2 * kLanes] = {a.lane[0], a.lane[1], a.lane[2], a.lane[3],
                                    b.lane[0], b.lane[1], b.lane[2], b.lane[3]};
    a = Map([&](int i) { return both[2 * i]; });
    b = Map([&](int i) { return both[2 * i + 1]; });
  }
  // Lane i: the sum or the maximum of r[i]'s lanes.
  static Reg SumEach(const Reg* r) {
    return Map([=](int i) { return ReduceAdd(r[i]); });
  }
  static Reg MaxEach(const Reg* r) {
    return Map([=](int i) { return ReduceMax(r[i]); });
  }

  static uint32_t Bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
  }
  static float FromBits(uint32_t u) {
    float x;
    std::memcpy(&x, &u, 4);
    return x;
  }

  static float HalfToFloat(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
    const uint32_t magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return FromBits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude >= 0x0400) return FromBits(sign | ((magnitude << 13) + 0x38000000));
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return sign ? -subnormal : subnormal;
  }
  static uint16_t FloatToHalf(float x) {
    const uint32_t u = Bits(x);
    const uint32_t sign = (u >> 16) & 0x8000;
    const uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    if (magnitude < 0x38800000) {
      // Adding 0.5 puts the half subnormal's last place at the float's: the addition itself rounds to nearest
      // even.
      return sign | (Bits(FromBits(magnitude) + 0.5f) - 0x3f000000);
    }
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
  }
  static uint16_t FloatToBf16(float x) {
    const uint32_t u = Bits(x);
    if ((u & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(u >> 16 | 0x40);
    return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
  }

  static Reg LoadHalf(const uint16_t* p) {
    return Map([=](int i) { return HalfToFloat(p[i]); });
  }
  static void StoreHalf(uint16_t* p, Reg x) {
    for (int i = 0; i < kLanes; ++i) p[i] = FloatToHalf(x.lane[i]);
  }
  static Reg LoadBf16(const uint16_t* p) {
    return Map([=](int i) { return FromBits(static_cast<uint32_t>(p[i]) << 16); });
  }
  static void StoreBf16(uint16_t* p, Reg x) {
    for (int i = 0; i < kLanes; ++i) p[i] = FloatToBf16(x.lane[i]);
  }
};

}  // namespace
}  // namespace ms_nsa
