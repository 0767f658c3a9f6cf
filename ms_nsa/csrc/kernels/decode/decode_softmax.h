// SPDX-License-Identifier: Apache-2.0
// Softmax of the scores of one row tile. Keys and heads are in the lanes: score[vector][key of vector][head].
#pragma once

#include "../tiling.h"
#include "decode_state.h"
#include "saved_scores.h"

namespace ms_nsa {
namespace {

// The layout of kHeads heads and the rows of a tile in vectors.
template <class Dot, int kHeads>
struct ScoreLayout {
  static constexpr int kVectorKeys = Dot::Vec::kLanes / kHeads;
  // Keys whose probabilities become one or two operand vectors.
  static constexpr int kStep = kVectorKeys * Dot::kPair;
  static_assert(kDecodeRows % kStep == 0, "a tile is whole steps");

  // The tile's row at a place: of kPair vectors that are stored as one operand, the first holds the even
  // rows.
  static constexpr int64_t Row(int64_t place) {
    const int64_t vector = place / kVectorKeys, key = place % kVectorKeys;
    return (vector / Dot::kPair * kVectorKeys + key) * Dot::kPair + vector % Dot::kPair;
  }
};

// In every lane the maximum over the lanes of the same head.
template <class V, int kHeads>
inline typename V::Reg MaxOverKeys(typename V::Reg x) {
  if constexpr (kHeads == 1) return V::Set1(V::ReduceMax(x));
  float lane[V::kLanes];
  V::Store(lane, x);
  for (int width = V::kLanes / 2; width >= kHeads; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] = lane[i] < lane[i + width] ? lane[i + width] : lane[i];
  }
  for (int i = kHeads; i < V::kLanes; ++i) lane[i] = lane[i - kHeads];
  return V::Load(lane);
}

// Bits of the lanes of a vector that hold one of the tile's count rows.
template <class Dot, int kHeads>
inline uint32_t RowBits(int64_t vector, int64_t count) {
  using Layout = ScoreLayout<Dot, kHeads>;
  uint32_t bits = 0;
  for (int key = 0; key < Layout::kVectorKeys; ++key) {
    if (Layout::Row(vector * Layout::kVectorKeys + key) < count)
      bits |= ((1u << kHeads) - 1) << (key * kHeads);
  }
  return bits;
}

// Scales the scores, hides rows from count on, and returns the maxima of the lanes.
template <class Dot, int kHeads>
inline typename Dot::Reg ScaleScores(float* score, int64_t vectors, int64_t count, float scale) {
  using V = typename Dot::Vec;
  using Layout = ScoreLayout<Dot, kHeads>;
  const auto by = V::Set1(scale), hidden = V::Set1(kNegativeInfinity);
  auto max = hidden;
  for (int64_t v = 0; v < vectors; ++v) {
    auto z = V::Mul(V::Load(score + v * V::kLanes), by);
    if (vectors * Layout::kVectorKeys != count) {
      z = V::Select(V::MaskFromBits(RowBits<Dot, kHeads>(v, count)), z, hidden);
    }
    V::Store(score + v * V::kLanes, z);
    max = V::Max(max, z);
  }
  return max;
}

// Turns scores into probability operands [pair of keys][head][key of the pair] and advances the statistics;
// factor gets what older results are to be multiplied by, per lane.
template <class Dot, int kHeads>
inline void DecodeSoftmax(float* score, int64_t vectors, int64_t count, float scale,
                          HeadStatistics<Dot>& statistics, typename Dot::Operand* probability,
                          float* factor) {
  using V = typename Dot::Vec;
  constexpr bool kPrecise = Dot::kPreciseExp;
  const auto tile_max = MaxOverKeys<V, kHeads>(ScaleScores<Dot, kHeads>(score, vectors, count, scale));
  const auto max = V::Max(statistics.max, tile_max);
  // The least finite number stands in for -inf, which is the maximum as long as all scores are: subtracting
  // it keeps NaN out.
  const auto shift = V::Max(V::Set1(kLeastFinite), max);
  const auto correction = Exp<V, kPrecise>(V::Sub(statistics.max, shift));
  auto sum = V::Mul(statistics.sum, correction);
  for (int64_t v = 0; v < vectors; v += Dot::kPair) {
    typename Dot::Reg e[2];
    for (int i = 0; i < Dot::kPair; ++i) {
      e[i] = Exp<V, kPrecise>(V::Sub(V::Load(score + (v + i) * V::kLanes), shift));
      sum = V::Add(sum, e[i]);
    }
    Dot::StorePair(probability + v * V::kLanes, e[0], e[Dot::kPair - 1]);
  }
  statistics = {max, sum};
  V::Store(factor, correction);
}

// A vector of rows of scores, [row][head], as one vector of rows for each head.
template <class V>
inline void LoadTurned(const float* score, typename V::Reg* head) {
  for (int i = 0; i < V::kLanes; ++i) head[i] = V::Load(score + i * V::kLanes);
  V::Transpose(head);
}

// Copies the scaled scores of a tile's count rows, which are rows [first, ...) of their item. Behind the last
// one up to a vector may be written.
template <class Dot, int kHeads>
inline void SaveTile(const float* score, int64_t count, int64_t first, int64_t heads, const SavedScores& to) {
  using V = typename Dot::Vec;
  using Layout = ScoreLayout<Dot, kHeads>;
  if constexpr (kHeads == V::kLanes) {
    for (int64_t row = 0; row < count; row += V::kLanes, score += V::kLanes * kHeads) {
      typename Dot::Reg head[V::kLanes];
      LoadTurned<V>(score, head);
      for (int64_t h = 0; h < heads; ++h) V::Store(to.At(h, first + row), head[h]);
    }
    return;
  }
  for (int64_t place = 0; place < RoundUp(count, Layout::kStep); ++place, score += kHeads) {
    if (Layout::Row(place) >= count) continue;
    for (int64_t h = 0; h < heads; ++h) *to.At(h, first + Layout::Row(place)) = score[h];
  }
}

// The same of all groups of heads.
template <class Dot, int kHeads>
inline void SaveScores(const DecodeState<Dot, kHeads>& state, const float* score, int64_t count,
                       int64_t first, const SavedScores& to) {
  for (int64_t i = 0; i < state.groups(); ++i)
    SaveTile<Dot, kHeads>(score + i * kDecodeRows * kHeads, count, first, state.HeadsOf(i),
                          to.OfHead(i * kHeads));
}

}  // namespace
}  // namespace ms_nsa
