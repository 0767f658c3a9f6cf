// SPDX-License-Identifier: Apache-2.0
// A tile of cache rows and few query heads where there are matrix tiles: these score the keys, which are A
// (matrix_tiles.h) and mostly lie evenly spaced in a page; values are read in place by fp32 products.
#pragma once

#include "../../simd/float_dot.h"
#include "decode_softmax.h"
#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"
#include "transposed_query.h"
#include "weighted_sum.h"

namespace ms_nsa {
namespace {

// Dot is the policy with matrix tiles. Of the columns of a score tile, one for each lane, the heads are used.
template <class Dot, class E, int kHeads>
class FewTiledHeads {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  using Float = FloatDot<V, Dot::kPreciseExp>;
  using Registers = typename Dot::Registers;
  using State = DecodeState<Float, kHeads>;
  static constexpr int64_t kMaxHeads = V::kLanes;

  FewTiledHeads(Arena& arena, const PagedAttentionParams& p)
      : scale_(p.scale_value),
        key_width_(p.d1),
        value_width_(p.d2),
        state_(arena, p.n1 / p.n2, p.d2),
        values_(arena, kDecodeRows, p.d2, state_.width()),
        query_(arena, state_.heads(), p.d1),
        columns_(arena.Take<float>(kDecodeRows * kMaxHeads)),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(state_.groups() * V::kLanes)) {
    for (int64_t i = 0; i < kDecodeRows; ++i) column_row_[i] = columns_ + i * kMaxHeads;
  }

  int64_t tile_rows() const { return kDecodeRows; }
  const State& state() const { return state_; }
  const float* scores() const { return score_; }

  void Start(const S* query) const { query_.Start(query); }

  // Meanwhile the next tile's rows are fetched; those of the one after that must find their pages in the TLB.
  void Add(RowTile<S>& tile, const RowTile<S>& next, const RowTile<S>& after_next) {
    TouchPages(after_next.key, after_next.count);
    TouchPages(after_next.value, after_next.count);
    Score(tile);
    const int64_t padded = RoundUp(tile.count, kStep);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Float, kHeads>(score_ + at, padded / kStep, tile.count, scale_, state_.statistics(i),
                                   probability_ + at, factor_ + i * V::kLanes);
    }
    values_.Pad(tile.value, tile.count, tile.count);
    AddValues(tile, next);
  }

 private:
  static constexpr int64_t kStep = ScoreLayout<Float, kHeads>::kStep;  // rows whose scores are a vector

  void Score(const RowTile<S>& tile) const {
    Gemm<Dot>(tile.count, tile.key, Dot::kPair, query_.Group(0), column_row_, Init::kZero);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      float* score = score_ + i * kDecodeRows * kHeads;
      for (int64_t r = 0; r < tile.count; ++r)
        std::memcpy(score + r * kHeads, column_row_[r] + i * kHeads, kHeads * sizeof(float));
    }
  }

  void AddValues(const RowTile<S>& tile, const RowTile<S>& next) {
    const int64_t panels = CeilDiv(state_.width(), PanelColumns<Float>(kHeads));
    LinePrefetch<S> rows({next.key, next.count, key_width_}, {next.value, next.count, value_width_},
                         tile.count * state_.groups() * panels);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t heads = Min(kHeads, state_.heads() - i * kHeads);
      WeightedSum<Float, E, kHeads>(
          heads,
          {tile.value, tile.count, state_.width(), probability_ + i * kDecodeRows * kHeads, kHeads,
           state_.out(i * kHeads), factor_ + i * V::kLanes},
          rows);
    }
  }

  const float scale_;
  const int64_t key_width_, value_width_;
  State state_;
  const PaddedRows<S> values_;
  const TransposedQuery<Dot, E> query_;
  float* columns_;  // scores of some rows as a matrix tile has them
  float* column_row_[kDecodeRows];
  float* score_;
  float* probability_;
  float* factor_;
};

}  // namespace
}  // namespace ms_nsa
