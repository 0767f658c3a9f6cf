// SPDX-License-Identifier: Apache-2.0
// Vector type for AVX-512 F/BW/DQ/VL: sixteen fp32 lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ms_nsa {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  // 24 accumulators + 4 operand vectors + 1 broadcast of 32 registers.
  static constexpr int kTileRows = 6;
  static constexpr int kTileVectors = 4;
  static constexpr bool kHasFraction = true;  // an instruction for Fraction

  using Reg = __m512;
  using Mask = __mmask16;

  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Set1(float x) { return _mm512_set1_ps(x); }
  static Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg Div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  // The larger of the two; NaN in the second argument is kept.
  static Reg Max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Mask MaskFromBits(uint32_t bits) { return static_cast<Mask>(bits); }
  // Lanes with a >= b as bits; none for NaN.
  static uint32_t AtLeast(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  static Reg Select(Mask m, Reg yes, Reg no) { return _mm512_mask_blend_ps(m, no, yes); }
  static float ReduceMax(Reg a) { return _mm512_reduce_max_ps(a); }
  static float ReduceAdd(Reg a) { return _mm512_reduce_add_ps(a); }
  static Reg Round(Reg a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x - floor(x), 0 for infinite x
  static Reg Fraction(Reg x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  // x * 2^floor(n); kLeastPower gives 0.
  static constexpr float kLeastPower = -200;
  static Reg ScaleByPowerOf2(Reg x, Reg n) { return _mm512_scalef_ps(x, n); }
  static void Transpose(Reg* r) {
    Reg t[16];
    for (int i = 0; i < 8; ++i) {
      t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      r[4 * i + 0] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
      r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    // What is left is a 4x4 transpose of 128-bit lanes.
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
      t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
      r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
      r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
  }
  // a: the even lanes of both, one after another; b: the odd lanes.
  static void Deinterleave(Reg& a, Reg& b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const Reg odds = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
    a = _mm512_permutex2var_ps(a, even, b);
    b = odds;
  }
  // Lane i: the sum or the maximum of r[i]'s lanes.
  static Reg SumEach(const Reg* r) { return FoldEach(r, Add); }
  static Reg MaxEach(const Reg* r) { return FoldEach(r, Max); }

  static Reg LoadHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void StoreHalf(uint16_t* p, Reg x) {
    const __m256i h = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
  }
  static Reg LoadBf16(const uint16_t* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static void StoreBf16(uint16_t* p, Reg x) {
    const __m512i u = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const Mask nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i safe = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
    const __m256i packed = _mm512_cvtepi32_epi16(_mm512_srli_epi32(safe, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
  }

 private:
  template <class F>
  static Reg FoldEach(const Reg* r, F fold) {
    Reg t[8], u[4];
    for (int i = 0; i < 8; ++i) {
      t[i] = fold(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    }
    for (int i = 0; i < 4; ++i) {
      u[i] = fold(_mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44),
                  _mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee));
    }
    for (int i = 0; i < 2; ++i) {
      t[i] = fold(_mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0x44),
                  _mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0xee));
    }
    return fold(_mm512_shuffle_f32x4(t[0], t[1], 0x88), _mm512_shuffle_f32x4(t[0], t[1], 0xdd));
  }
};

}  // namespace
}  // namespace ms_nsa
