// SPDX-License-Identifier: Apache-2.0
// The one matrix product of all kernels: C[row][column] (+)= sum over depth of A[row][depth] *
// B[depth][column]. A is broadcast element by element from wherever its rows lie; B is packed (pack.h); C
// stays in registers per tile.
#pragma once

#include <cstdint>

#include "matrix_tiles.h"

namespace ms_nsa {
namespace {

template <class Dot, int R, int NV>
[[gnu::always_inline]] inline void InitTile(const GemmArgs<Dot>& g, typename Dot::Reg (&acc)[R][NV]) {
  using V = typename Dot::Vec;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const float* c = g.c[r] + g.column;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = g.init == Init::kLoad ? V::Load(c + v * V::kLanes) : V::Zero();
  }
}

template <class Dot, int R, int NV>
[[gnu::always_inline]] inline void StoreTile(const GemmArgs<Dot>& g, typename Dot::Reg (&acc)[R][NV]) {
  using V = typename Dot::Vec;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float* c = g.c[r] + g.column;
    if (g.init == Init::kScale) {
      const auto factor = V::Set1(g.factor[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = V::Fma(V::Load(c + v * V::kLanes), factor, acc[r][v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) V::Store(c + v * V::kLanes, acc[r][v]);
  }
}

template <class Dot, int R, int NV>
[[gnu::always_inline]] inline void GemmTile(const GemmArgs<Dot>& g) {
  using V = typename Dot::Vec;
  typename Dot::Reg acc[R][NV];
  InitTile<Dot, R, NV>(g, acc);
  const typename Dot::Operand* a[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) a[r] = g.a[r] + g.a_first;
  const typename Dot::Operand* b = g.b;
  const int64_t end = g.depth * g.a_step;
  for (int64_t k = 0; k != end; k += g.a_step, b += g.b_step) {
    typename Dot::B column[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) column[v] = Dot::LoadB(b + v * V::kLanes * Dot::kPair);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto x = Dot::Broadcast(a[r] + k);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = Dot::MulAdd(acc[r][v], x, column[v]);
    }
  }
  StoreTile<Dot, R, NV>(g, acc);
}

template <class Dot, int NV, int R = Dot::Vec::kTileRows>
[[gnu::always_inline]] inline void GemmRows(int rows, const GemmArgs<Dot>& g) {
  if constexpr (R > 1) {
    if (rows < R) return GemmRows<Dot, NV, R - 1>(rows, g);
  }
  GemmTile<Dot, R, NV>(g);
}

template <class Dot, int NV = Dot::Vec::kTileVectors>
[[gnu::always_inline]] inline void GemmPanel(int64_t vectors, int64_t rows, GemmArgs<Dot> g) {
  if constexpr (NV > 1) {
    if (vectors < NV) return GemmPanel<Dot, NV - 1>(vectors, rows, g);
  }
  // Tiles of nearly equal height: 7 rows are 4 + 3, not 6 + 1.
  int64_t tiles = CeilDiv(rows, Dot::Vec::kTileRows);
  for (; tiles > 0; --tiles) {
    const int64_t take = CeilDiv(rows, tiles);
    GemmRows<Dot, NV>(static_cast<int>(take), g);
    rows -= take;
    g.a += take;
    g.c += take;
    g.factor += take;
  }
}

// Panels outermost: one panel of B stays in L1 while all rows pass. Steps of A and vectors of C have the
// numbers of B's, whatever part of them is used. One function holds every tile: left to itself the compiler
// calls each one, and the forward and the gradient took 5 to 10 % longer.
template <class Dot>
[[gnu::noinline]] void GemmPart(int64_t rows, const typename Dot::Operand* const* a, int64_t a_step,
                                const PackedB<Dot>& b, const PartOfB& part, float* const* c, Init init,
                                const float* factor = nullptr) {
  if constexpr (Dot::kMatrixTiles) return GemmByTiles<Dot>(rows, a, a_step, b, part, c, init, factor);
  for (int64_t v = part.first_vector; v < part.end_vector;) {
    const Panel<Dot> panel = PanelAt(b, part, v);
    v = panel.end;
    GemmPanel<Dot>(
        panel.end - panel.vector, rows,
        GemmArgs<Dot>{a, part.first_step * a_step, a_step, panel.first, panel.step,
                      part.end_step - part.first_step, c, panel.vector * Dot::Vec::kLanes, init, factor});
  }
}

template <class Dot>
inline void Gemm(int64_t rows, const typename Dot::Operand* const* a, int64_t a_step, const PackedB<Dot>& b,
                 float* const* c, Init init, const float* factor = nullptr) {
  GemmPart<Dot>(rows, a, a_step, b, {0, b.depth, 0, b.vectors}, c, init, factor);
}

}  // namespace
}  // namespace ms_nsa
