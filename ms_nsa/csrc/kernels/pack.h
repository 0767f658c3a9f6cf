// Operands of the matrix product from tensor rows: A rows as they are, B transposed (depth = the row's
// elements) or interleaved (depth = the rows). Whatever lies beyond the data is zero, so products need no
// tails.
#pragma once

#include "gemm_tile.h"

namespace ms_nsa {
namespace {

// Elements of a packed A row of this width: whole vectors of any later use as B.
template <class Dot>
constexpr int64_t RowStride(int64_t width) {
  return RoundUp(width, Dot::Vec::kLanes * Dot::kPair);
}

// One tensor row as an A row of RowStride elements.
template <class Dot, class E>
inline void PackRow(const typename E::Storage* src, int64_t width, typename Dot::Operand* dst) {
  constexpr int kStep = Dot::Vec::kLanes * Dot::kPair;
  int64_t i = 0;
  for (; i + kStep <= width; i += kStep) Dot::StoreDepth(dst + i, Dot::template LoadDepth<E>(src + i));
  if (i == width) return;
  const Tail<typename E::Storage, kStep> tail(src + i, width - i);
  Dot::StoreDepth(dst + i, Dot::template LoadDepth<E>(tail.element));
}

// One column of depth vectors of up to kLanes rows; what is missing is zero.
template <class Dot, class E>
inline void LoadTile(const typename E::Storage* src, int64_t stride, int64_t rows, int64_t count,
                     typename Dot::Reg* tile) {
  constexpr int kLanes = Dot::Vec::kLanes, kStep = kLanes * Dot::kPair;
  for (int64_t i = 0; i < kLanes; ++i) {
    if (i >= rows) {
      tile[i] = Dot::Vec::Zero();
    } else if (count == kStep) {
      tile[i] = Dot::template LoadDepth<E>(src + i * stride);
    } else {
      const Tail<typename E::Storage, kStep> tail(src + i * stride, count);
      tile[i] = Dot::template LoadDepth<E>(tail.element);
    }
  }
}

// keys rows of width elements -> B[width][keys].
template <class Dot, class E>
inline void PackTransposed(const typename E::Storage* src, int64_t stride, int64_t keys, int64_t width,
                           typename Dot::Operand* dst) {
  using V = typename Dot::Vec;
  constexpr int kStep = V::kLanes * Dot::kPair;
  const int64_t vectors = CeilDiv(keys, V::kLanes), depth = CeilDiv(width, Dot::kPair);
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t first = v / V::kTileVectors * V::kTileVectors;
    const int64_t step = Min(V::kTileVectors, vectors - first) * kStep;
    typename Dot::Operand* out = dst + first * kStep * depth + (v - first) * kStep;
    const int64_t rows = Min(V::kLanes, keys - v * V::kLanes);
    for (int64_t d = 0; d < width; d += kStep) {
      typename V::Reg tile[V::kLanes];
      LoadTile<Dot, E>(src + v * V::kLanes * stride + d, stride, rows, Min(kStep, width - d), tile);
      V::Transpose(tile);
      const int64_t count = Min(V::kLanes, depth - d / Dot::kPair);
      for (int64_t i = 0; i < count; ++i) Dot::StoreDepth(out + (d / Dot::kPair + i) * step, tile[i]);
    }
  }
}

// count rows of width elements, row i at row(i) -> B[count][width]. Returns whether every element is finite.
template <class Dot, class E, class Row>
inline bool PackInterleaved(Row row, int64_t count, int64_t width, typename Dot::Operand* dst) {
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  constexpr int kStep = V::kLanes * Dot::kPair;
  const int64_t vectors = CeilDiv(width, V::kLanes), depth = CeilDiv(count, Dot::kPair);
  const S zeros[V::kLanes] = {};
  const typename Dot::Operand no_weight[2] = {};
  const auto nothing = Dot::Broadcast(no_weight);
  auto finite = V::Zero();  // stays zero: 0 * x is 0 for finite x and NaN otherwise
  for (int64_t k = 0; k < depth; ++k) {
    const S* first = row(k * Dot::kPair);
    const bool second = Dot::kPair == 2 && k * Dot::kPair + 1 < count;
    const S* other = second ? row(k * Dot::kPair + 1) : nullptr;
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t panel = v / V::kTileVectors * V::kTileVectors;
      const int64_t in_panel = Min(V::kTileVectors, vectors - panel);
      auto* out = dst + panel * kStep * depth + (k * in_panel + v - panel) * kStep;
      const int64_t left = width - v * V::kLanes;
      if (left >= V::kLanes) {
        Dot::template CopyPair<E>(out, first + v * V::kLanes, second ? other + v * V::kLanes : zeros);
      } else {
        const Tail<S, V::kLanes> a(first + v * V::kLanes, left),
            b(second ? other + v * V::kLanes : zeros, left);
        Dot::template CopyPair<E>(out, a.element, b.element);
      }
      finite = Dot::MulAdd(finite, nothing, Dot::LoadB(out));
    }
  }
  const float sum = V::ReduceAdd(finite);
  return sum == sum;
}

}  // namespace
}  // namespace ms_nsa
