// SPDX-License-Identifier: Apache-2.0
// Dot policy of NEON with Armv8.6's bf16 products: one BFDOT multiplies a pair along the depth and adds both.
#pragma once

#include "neonfp16.h"

namespace ms_nsa {
namespace {

struct NeonBf16Dot : NeonPairs {
  using Element = Bf16<Neon>;  // how an operand row reads as plain elements
  using B = bfloat16x8_t;
  using Pair = bfloat16x4_t;

  static Pair Broadcast(const Operand* a) { return vreinterpret_bf16_u16(LoadPair(a)); }
  static B LoadB(const Operand* b) { return vreinterpretq_bf16_u16(vld1q_u16(b)); }
  static Reg MulAdd(Reg acc, B a, B b) { return vbfdotq_f32(acc, a, b); }
  static Reg MulAdd(Reg acc, Pair a, B b) { return vbfdotq_lane_f32(acc, b, a, 0); }
  static Reg MulAddBroadcast(Reg acc, const Operand* a, B b) { return MulAdd(acc, Broadcast(a), b); }

  static void StoreRow(Operand* p, Reg x) { vst1_u16(p, Narrow(x)); }
  static void StoreRow(Operand* p, Reg first, Reg second) {
    vst1q_u16(p, vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second)));
  }
  static void StorePair(Operand* p, Reg first, Reg second) {
    StoreInterleaved(p, Narrow(first), Narrow(second));
  }
  template <class E>
  static void CopyPair(Operand* p, const Operand* first, const Operand* second) {
    StoreInterleaved(p, vld1_u16(first), vld1_u16(second));
  }
  static void StoreColumns(Operand* p, Reg x) { StoreDepth(p, x); }

  template <class E>
  static B LoadRow(const Operand* p) {
    return LoadB(p);
  }
  template <class E>
  static void LoadColumns(const Operand* const* row, int64_t column, B* b) {
    const uint16x8_t first = vld1q_u16(row[0] + column), second = vld1q_u16(row[1] + column);
    b[0] = vreinterpretq_bf16_u16(vzip1q_u16(first, second));
    b[1] = vreinterpretq_bf16_u16(vzip2q_u16(first, second));
  }

 private:
  static uint16x4_t Narrow(Reg x) { return vreinterpret_u16_bf16(vcvt_bf16_f32(x)); }
};

}  // namespace
}  // namespace ms_nsa
