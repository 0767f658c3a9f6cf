// SPDX-License-Identifier: Apache-2.0
// Dot policy of NEON with Armv8.2's fp16 products (FMLAL and FMLAL2): operands stay fp16, sums are fp32.
#pragma once

#include <cstring>

#include "element.h"
#include "neon.h"

namespace ms_nsa {
namespace {

// What both 16-bit policies of NEON share: operands in pairs along the depth, eight in a register.
struct NeonPairs {
  using Vec = Neon;
  using Reg = Neon::Reg;
  using Operand = uint16_t;
  static constexpr int kPair = 2;
  static constexpr bool kMatrixTiles = false;  // matrix_tiles.h
  struct Registers {
    Registers() {}
  };
  static constexpr bool kPreciseExp = false;  // probabilities are rounded to 16 bits anyway
  static constexpr bool kBalanced = true;     // kernels/training/grad_balance.h

  // kLanes * kPair elements of one row, opaque to arithmetic: only moved.
  template <class E>
  static Reg LoadDepth(const Operand* p) {
    return vreinterpretq_f32_u16(vld1q_u16(p));
  }
  static void StoreDepth(Operand* p, Reg x) { vst1q_u16(p, vreinterpretq_u16_f32(x)); }

 protected:
  // A pair of A in the lowest lanes, from where products take it by element.
  static uint16x4_t LoadPair(const Operand* a) {
    float pair;  // a vector register, not a general one
    std::memcpy(&pair, a, sizeof pair);
    return vreinterpret_u16_f32(float32x2_t{pair, 0.0f});
  }
  static void StoreInterleaved(Operand* p, uint16x4_t first, uint16x4_t second) {
    vst1q_u16(p, vcombine_u16(vzip1_u16(first, second), vzip2_u16(first, second)));
  }
};

// FMLAL takes the lower half of its registers and FMLAL2 the upper one. So a register of B holds kLanes
// columns of the pair's first depth step, then the same columns of its second.
struct NeonFp16Dot : NeonPairs {
  using Element = Fp16<Neon>;  // how an operand row reads as plain elements
  using B = float16x8_t;
  using Pair = float16x4_t;

  static Pair Broadcast(const Operand* a) { return vreinterpret_f16_u16(LoadPair(a)); }
  static B LoadB(const Operand* b) { return vreinterpretq_f16_u16(vld1q_u16(b)); }
  static Reg MulAdd(Reg acc, B a, B b) { return vfmlalq_high_f16(vfmlalq_low_f16(acc, a, b), a, b); }
  static Reg MulAdd(Reg acc, Pair a, B b) {
    return vfmlalq_lane_high_f16(vfmlalq_lane_low_f16(acc, b, a, 0), b, a, 1);
  }
  static Reg MulAddBroadcast(Reg acc, const Operand* a, B b) { return MulAdd(acc, Broadcast(a), b); }

  static void StoreRow(Operand* p, Reg x) { Neon::StoreHalf(p, x); }
  static void StoreRow(Operand* p, Reg first, Reg second) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(first), second)));
  }
  static void StorePair(Operand* p, Reg first, Reg second) {
    StoreInterleaved(p, vreinterpret_u16_f16(vcvt_f16_f32(first)),
                     vreinterpret_u16_f16(vcvt_f16_f32(second)));
  }
  template <class E>
  static void CopyPair(Operand* p, const Operand* first, const Operand* second) {
    vst1q_u16(p, vcombine_u16(vld1_u16(first), vld1_u16(second)));
  }
  static void StoreColumns(Operand* p, Reg x) {
    const uint32x4_t pairs = vreinterpretq_u32_f32(x);
    vst1q_u16(p, vcombine_u16(vmovn_u32(pairs), vshrn_n_u32(pairs, 16)));
  }

  template <class E>
  static B LoadRow(const Operand* p) {
    return LoadB(p);
  }
  template <class E>
  static void LoadColumns(const Operand* const* row, int64_t column, B* b) {
    const uint16x8_t first = vld1q_u16(row[0] + column), second = vld1q_u16(row[1] + column);
    b[0] = vreinterpretq_f16_u16(vcombine_u16(vget_low_u16(first), vget_low_u16(second)));
    b[1] = vreinterpretq_f16_u16(vcombine_u16(vget_high_u16(first), vget_high_u16(second)));
  }
};

}  // namespace
}  // namespace ms_nsa
