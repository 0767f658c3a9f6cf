// SPDX-License-Identifier: Apache-2.0
// Vector type for 64-bit Arm (baseline NEON): four fp32 lanes.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace ms_nsa {
namespace {

struct Neon {
  static constexpr int kLanes = 4;
  // 24 accumulators + 4 operand vectors + 1 broadcast of 32 registers.
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 4;
  static constexpr bool kHasFraction = false;

  using Reg = float32x4_t;
  using Mask = uint32x4_t;

  static Reg Zero() { return vdupq_n_f32(0.0f); }
  static Reg Set1(float x) { return vdupq_n_f32(x); }
  static Reg Load(const float* p) { return vld1q_f32(p); }
  static void Store(float* p, Reg x) { vst1q_f32(p, x); }
  static Reg Add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg Sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static Reg Mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg Div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  // The larger of the two; NaN in the second argument is kept.
  static Reg Max(Reg a, Reg b) { return vmaxq_f32(a, b); }
  static Mask MaskFromBits(uint32_t bits) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), bit);
  }
  // Lanes with a >= b as bits; none for NaN.
  static uint32_t AtLeast(Reg a, Reg b) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32(a, b), bit));
  }
  static Reg Select(Mask m, Reg yes, Reg no) { return vbslq_f32(m, yes, no); }
  static float ReduceMax(Reg a) { return vmaxvq_f32(a); }
  static float ReduceAdd(Reg a) { return vaddvq_f32(a); }
  static Reg Round(Reg a) { return vrndnq_f32(a); }
  // x * 2^n for integral n from kLeastPower, which gives 0, to 127.
  static constexpr float kLeastPower = -127;
  static Reg ScaleByPowerOf2(Reg x, Reg n) { return vmulq_f32(x, Power(vcvtnq_s32_f32(n))); }
  static void Transpose(Reg* r) {
    const float32x4x2_t a = vtrnq_f32(r[0], r[1]);
    const float32x4x2_t b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
  }
  // a: the even lanes of both, one after another; b: the odd lanes.
  static void Deinterleave(Reg& a, Reg& b) {
    const float32x4x2_t pair = vuzpq_f32(a, b);
    a = pair.val[0];
    b = pair.val[1];
  }
  // Lane i: the sum or the maximum of r[i]'s lanes.
  static Reg SumEach(const Reg* r) { return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3])); }
  static Reg MaxEach(const Reg* r) { return vpmaxq_f32(vpmaxq_f32(r[0], r[1]), vpmaxq_f32(r[2], r[3])); }

  static Reg LoadHalf(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static void StoreHalf(uint16_t* p, Reg x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
  static Reg LoadBf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
  static void StoreBf16(uint16_t* p, Reg x) {
    const uint32x4_t u = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
    vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16));
  }

 private:
  static Reg Power(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }
};

}  // namespace
}  // namespace ms_nsa
