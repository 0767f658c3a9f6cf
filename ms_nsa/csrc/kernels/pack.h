// SPDX-License-Identifier: Apache-2.0
// Operands of the matrix product from tensor rows: A rows as they are, B transposed (depth = the row's
// elements) or interleaved (depth = the rows). Whatever lies beyond the data is zero, so products need no
// tails.
#pragma once

#include "../simd/element.h"
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

// A kLanes x kLanes tile of keys and depth steps, turned round. Without kFull, keys or elements may be
// missing: zero.
template <class Dot, class E, bool kFull>
inline void TransposeTile(const typename E::Storage* src, int64_t stride, int64_t rows, int64_t count,
                          typename Dot::Operand* out, int64_t step) {
  constexpr int kLanes = Dot::Vec::kLanes, kStep = kLanes * Dot::kPair;
  typename Dot::Reg tile[kLanes];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes; ++i) {
    if constexpr (kFull) {
      tile[i] = Dot::template LoadDepth<E>(src + i * stride);
    } else {
      const Tail<typename E::Storage, kStep> tail(i < rows ? src + i * stride : src, i < rows ? count : 0);
      tile[i] = Dot::template LoadDepth<E>(tail.element);
    }
  }
  Dot::Vec::Transpose(tile);
  const int64_t depth = kFull ? kLanes : CeilDiv(count, Dot::kPair);
#pragma GCC unroll 16
  for (int64_t i = 0; i < depth; ++i) Dot::StoreColumns(out + i * step, tile[i]);
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
    auto* out = dst + first * kStep * depth + (v - first) * kStep;
    const auto* from = src + v * V::kLanes * stride;
    const int64_t rows = Min(V::kLanes, keys - v * V::kLanes);
    for (int64_t d = 0; d < width; d += kStep, from += kStep, out += V::kLanes * step) {
      if (rows == V::kLanes && d + kStep <= width) {
        TransposeTile<Dot, E, true>(from, stride, rows, kStep, out, step);
      } else {
        TransposeTile<Dot, E, false>(from, stride, rows, Min(kStep, width - d), out, step);
      }
    }
  }
}

// kLanes columns of two rows as depth pairs, where only left of them exist; second may be nullptr.
template <class Dot, class E>
inline void CopyPairTail(typename Dot::Operand* out, const typename E::Storage* first,
                         const typename E::Storage* second, int64_t left) {
  constexpr int kLanes = Dot::Vec::kLanes;
  const typename E::Storage zero[kLanes] = {};
  const int64_t count = Min(left, kLanes);
  const Tail<typename E::Storage, kLanes> a(first, count), b(second == nullptr ? zero : second, count);
  Dot::template CopyPair<E>(out, a.element, b.element);
}

// count rows of width elements, row i at row(i) -> B[count][width]. Returns whether every element is finite.
template <class Dot, class E, class Row>
inline bool PackInterleaved(Row row, int64_t count, int64_t width, typename Dot::Operand* out) {
  using V = typename Dot::Vec;
  constexpr int64_t kStep = V::kLanes * Dot::kPair, kPanel = V::kLanes * V::kTileVectors;
  const typename Dot::Operand no_weight[2] = {};
  const auto nothing = Dot::Broadcast(no_weight);
  auto finite = V::Zero();  // stays zero: 0 * x is 0 for finite x and NaN otherwise
  for (int64_t panel = 0; panel < width; panel += kPanel) {
    const int64_t columns = Min(kPanel, width - panel);
    for (int64_t k = 0; k < count; k += Dot::kPair) {
      const auto* first = row(k) + panel;
      const bool pair = Dot::kPair == 2 && k + 1 < count;
      const auto* second = pair ? row(k + 1) + panel : nullptr;
      for (int64_t i = 0; i < columns; i += V::kLanes, out += kStep) {
        if (i + V::kLanes <= columns && (pair || Dot::kPair == 1)) {
          Dot::template CopyPair<E>(out, first + i, second + i);
        } else {
          CopyPairTail<Dot, E>(out, first + i, pair ? second + i : nullptr, columns - i);
        }
        finite = Dot::MulAdd(finite, nothing, Dot::LoadB(out));
      }
    }
  }
  const float sum = V::ReduceAdd(finite);
  return sum == sum;
}

// count rows of width elements, row i at row(i), turned round: width A rows, `stride` operands apart.
template <class Dot, class E, class Row>
inline void PackTurned(Row row, int64_t count, int64_t width, typename Dot::Operand* out, int64_t stride) {
  using V = typename Dot::Vec;
  constexpr int64_t kStep = V::kLanes * Dot::kPair, kPanel = V::kLanes * V::kTileVectors;
  alignas(64) typename Dot::Operand panel[kStep * kPanel];
  for (int64_t w = 0; w < width; w += kPanel) {
    const int64_t columns = Min(kPanel, width - w), vectors = CeilDiv(columns, V::kLanes);
    for (int64_t k = 0; k < count; k += kStep) {
      const int64_t depth = Min(kStep, count - k), steps = CeilDiv(depth, Dot::kPair);
      PackInterleaved<Dot, E>([&](int64_t i) { return row(k + i) + w; }, depth, columns, panel);
      for (int64_t v = 0; v < vectors; ++v) {
        const int64_t first = v * V::kLanes, rows = Min(V::kLanes, columns - first);
        TurnSteps<Dot>(panel + v * kStep, vectors * kStep, steps, rows, out + (w + first) * stride + k,
                       stride);
      }
    }
  }
}

}  // namespace
}  // namespace ms_nsa
