// SPDX-License-Identifier: Apache-2.0
// Dot policy with fp32 operands: every element type is converted when it is packed.
#pragma once

#include "element.h"

namespace ms_nsa {
namespace {

template <class V, bool kPrecise>
struct FloatDot {
  using Vec = V;
  using Reg = typename V::Reg;
  using Operand = float;
  using Element = Fp32<V>;
  using B = Reg;
  static constexpr int kPair = 1;
  static constexpr bool kMatrixTiles = false;  // matrix_tiles.h
  struct Registers {
    Registers() {}
  };
  static constexpr bool kPreciseExp = kPrecise;
  static constexpr bool kBalanced = !kPrecise;  // grad_balance.h

  static B Broadcast(const Operand* a) { return V::Set1(*a); }
  static B LoadB(const Operand* b) { return V::Load(b); }
  static Reg MulAdd(Reg acc, B a, B b) { return V::Fma(a, b, acc); }
  static Reg MulAddBroadcast(Reg acc, const Operand* a, B b) { return MulAdd(acc, Broadcast(a), b); }

  static void StoreRow(Operand* p, Reg x) { V::Store(p, x); }
  static void StoreRow(Operand* p, Reg first, Reg second) {
    V::Store(p, first);
    V::Store(p + V::kLanes, second);
  }
  static void StorePair(Operand* p, Reg first, Reg) { V::Store(p, first); }
  template <class E>
  static void CopyPair(Operand* p, const typename E::Storage* first, const typename E::Storage*) {
    V::Store(p, E::Load(first));
  }
  template <class E>
  static Reg LoadDepth(const typename E::Storage* p) {
    return E::Load(p);
  }
  static void StoreDepth(Operand* p, Reg x) { V::Store(p, x); }
  static void StoreColumns(Operand* p, Reg x) { V::Store(p, x); }

  template <class E>
  static B LoadRow(const typename E::Storage* p) {
    return E::Load(p);
  }
  template <class E>
  static void LoadColumns(const typename E::Storage* const* row, int64_t column, B* b) {
    *b = E::Load(*row + column);
  }
};

}  // namespace
}  // namespace ms_nsa
