// SPDX-License-Identifier: Apache-2.0
// Dot policy of AVX512-BF16: operands are bf16 pairs along the depth, one vdpbf16ps multiplies and adds both.
#pragma once

#include <cstring>

#include "avx512.h"
#include "element.h"

namespace ms_nsa {
namespace {

struct Avx512Bf16Dot {
  using Vec = Avx512;
  using Reg = Avx512::Reg;
  using Operand = uint16_t;
  using Element = Bf16<Avx512>;  // how an operand row reads as plain elements
  using B = __m512bh;
  static constexpr int kPair = 2;
  static constexpr bool kMatrixTiles = false;  // matrix_tiles.h
  struct Registers {
    Registers() {}
  };
  static constexpr bool kPreciseExp = false;  // probabilities are rounded to bf16 anyway
  static constexpr bool kBalanced = true;     // kernels/training/grad_balance.h

  static B Broadcast(const Operand* a) {
    int32_t pair;
    std::memcpy(&pair, a, 4);
    return (B)_mm512_set1_epi32(pair);
  }
  static B LoadB(const Operand* b) { return (B)_mm512_loadu_si512(b); }
  static Reg MulAdd(Reg acc, B a, B b) { return _mm512_dpbf16_ps(acc, b, a); }

  // The same with a broadcast from memory inside the instruction, which compilers do not make of the two:
  // half the instructions, so that more of them are in flight while a load is late.
  static Reg MulAddBroadcast(Reg acc, const Operand* a, B b) {
    __asm__("vdpbf16ps %1%{1to16%}, %2, %0"
            : "+v"(acc)
            : "m"(*reinterpret_cast<const Operand(*)[2]>(a)), "v"(b));
    return acc;
  }

  // One row's values as an operand row.
  static void StoreRow(Operand* p, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x));
  }
  // The same of two vectors one after another.
  static void StoreRow(Operand* p, Reg first, Reg second) {
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(second, first));
  }
  // Two rows' values as depth pairs: p[2 i] from the first row, p[2 i + 1] from the second.
  static void StorePair(Operand* p, Reg first, Reg second) {
    StoreInterleaved(p, (__m256i)_mm512_cvtneps_pbh(first), (__m256i)_mm512_cvtneps_pbh(second));
  }
  // kLanes elements of two rows, interleaved.
  template <class E>
  static void CopyPair(Operand* p, const Operand* first, const Operand* second) {
    StoreInterleaved(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)),
                     _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second)));
  }
  // kLanes * kPair elements of one row, opaque to arithmetic: only moved.
  template <class E>
  static Reg LoadDepth(const Operand* p) {
    return _mm512_loadu_ps(p);
  }
  static void StoreDepth(Operand* p, Reg x) { _mm512_storeu_ps(p, x); }
  static void StoreColumns(Operand* p, Reg x) { StoreDepth(p, x); }

  // kLanes * kPair elements of one row as they lie.
  template <class E>
  static B LoadRow(const Operand* p) {
    return LoadB(p);
  }
  // The same columns of kPair rows as kPair operands of column pairs.
  template <class E>
  static void LoadColumns(const Operand* const* row, int64_t column, B* b) {
    alignas(64) static constexpr uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                      37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                      11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_load_si512(kLow);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const __m512i first = _mm512_loadu_si512(row[0] + column), second = _mm512_loadu_si512(row[1] + column);
    b[0] = (B)_mm512_permutex2var_epi16(first, low, second);
    b[1] = (B)_mm512_permutex2var_epi16(first, high, second);
  }

 private:
  static void StoreInterleaved(Operand* p, __m256i first, __m256i second) {
    const __m512i low = _mm512_cvtepu16_epi32(first);
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
    _mm512_storeu_si512(p, _mm512_or_si512(low, high));
  }
};

}  // namespace
}  // namespace ms_nsa
