// SPDX-License-Identifier: Apache-2.0
// Probability-weighted sums of value rows that lie anywhere: out[head] = out[head] * factor[head] + sum over
// rows of probability[row][head] * value[row]. Values are read where they lie in the cache, without packing.
#pragma once

#include "../gemm_tile.h"
#include "../tiling.h"

namespace ms_nsa {
namespace {

template <class Dot, class S>
struct WeightedSumArgs {
  const S* const* value;  // per row; count rounded up to kPair
  int64_t count;
  int64_t width;                             // whole vectors
  const typename Dot::Operand* probability;  // of the first head: [pair of rows][step]
  int64_t step;
  float* out;  // [head][width]
  const float* factor;
};

// Vectors of one tile. Few heads leave registers for wider tiles: the rows are then walked through fewer
// times.
template <class Dot>
constexpr int64_t PanelVectors(int heads) {
  constexpr int kFull = Dot::Vec::kTileVectors;
  return RoundUp(heads <= 2 ? 2 * kFull : heads <= 4 ? kFull : Min(2, kFull), Dot::kPair);
}

template <class Dot>
constexpr int64_t PanelColumns(int heads) {
  return PanelVectors<Dot>(heads) * Dot::Vec::kLanes;
}

// Heads [0, R) and NV vectors from one column on. Every Prefetch::kRows rows, prefetch.Advance(first row,
// column, work) is called before they are used; the work is the number of products.
template <class Dot, class E, int R, int NV, class Prefetch>
inline void WeightedTile(const WeightedSumArgs<Dot, typename E::Storage>& w, int64_t column,
                         Prefetch& prefetch) {
  using V = typename Dot::Vec;
  typename Dot::Reg acc[R][NV];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto factor = V::Set1(w.factor[r]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      acc[r][v] = V::Mul(V::Load(w.out + r * w.width + column + v * V::kLanes), factor);
    }
  }
  const typename Dot::Operand* probability = w.probability;
  constexpr int64_t kRows = Prefetch::kRows;
  for (int64_t first = 0; first < w.count; first += kRows) {
    const int64_t end = Min(first + kRows, w.count);
    prefetch.Advance(first, column, R * NV * (end - first) / Dot::kPair);
    for (int64_t i = first; i < end; i += Dot::kPair, probability += w.step) {
      typename Dot::B value[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v += Dot::kPair) {
        Dot::template LoadColumns<E>(w.value + i, column + v * V::kLanes, value + v);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const auto x = Dot::Broadcast(probability + r * Dot::kPair);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = Dot::MulAdd(acc[r][v], x, value[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) V::Store(w.out + r * w.width + column + v * V::kLanes, acc[r][v]);
  }
}

// All columns: NV vectors at a time, then fewer.
template <class Dot, class E, int R, int NV, class Prefetch>
inline void WeightedRow(const WeightedSumArgs<Dot, typename E::Storage>& w, Prefetch& prefetch,
                        int64_t column = 0) {
  constexpr int kColumns = NV * Dot::Vec::kLanes;
  for (; column + kColumns <= w.width; column += kColumns) WeightedTile<Dot, E, R, NV>(w, column, prefetch);
  if constexpr (NV > Dot::kPair) {
    if (column < w.width) WeightedRow<Dot, E, R, RoundUp(NV / 2, Dot::kPair)>(w, prefetch, column);
  }
}

template <class Dot, class E, int R, class Prefetch>
inline void WeightedHeads(int64_t heads, const WeightedSumArgs<Dot, typename E::Storage>& w,
                          Prefetch& prefetch) {
  if constexpr (R > 1) {
    if (heads < R) return WeightedHeads<Dot, E, R - 1>(heads, w, prefetch);
  }
  WeightedRow<Dot, E, R, PanelVectors<Dot>(R)>(w, prefetch);
}

// kMaxHeads heads at a time, or nearly: 9 are 5 + 4.
template <class Dot, class E, int kMaxHeads, class Prefetch>
inline void WeightedSum(int64_t heads, WeightedSumArgs<Dot, typename E::Storage> w, Prefetch& prefetch) {
  for (int64_t tiles = CeilDiv(heads, kMaxHeads); tiles > 0; --tiles) {
    const int64_t take = CeilDiv(heads, tiles);
    WeightedHeads<Dot, E, kMaxHeads>(take, w, prefetch);
    heads -= take;
    w.probability += take * Dot::kPair;
    w.out += take * w.width;
    w.factor += take;
  }
}

}  // namespace
}  // namespace ms_nsa
