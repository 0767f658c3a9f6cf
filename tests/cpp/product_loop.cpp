// SPDX-License-Identifier: Apache-2.0
// The full tile of the matrix product of one instruction set, for counting its instructions
// (tests/support/product_loop.py).
#include MS_NSA_SIMD_HEADER
#include "../../ms_nsa/csrc/kernels/gemm_tile.h"
#include "../../ms_nsa/csrc/simd/float_dot.h"

namespace ms_nsa {
namespace {

template <class Dot>
void ProductLoop(const void* arguments) {
  using V = typename Dot::Vec;
  GemmTile<Dot, V::kTileRows, V::kTileVectors>(*static_cast<const GemmArgs<Dot>*>(arguments));
}

// Also that of fp32 operands.
template <class... Dots>
void Run(int i, const void* arguments) {
  void (*const loops[])(const void*) = {ProductLoop<FloatDot<MS_NSA_VEC, false>>, ProductLoop<Dots>...};
  loops[i](arguments);
}

}  // namespace

void RunProductLoop(int i, const void* arguments) {
  Run<MS_NSA_DOTS>(i, arguments);
}

}  // namespace ms_nsa
