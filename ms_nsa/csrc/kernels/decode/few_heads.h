// SPDX-License-Identifier: Apache-2.0
// A tile of cache rows and few query heads: keys and values are read in place. The lanes hold the depth while
// the products of keys are summed; the lanes are added afterwards.
#pragma once

#include "decode_softmax.h"
#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"
#include "weighted_sum.h"

namespace ms_nsa {
namespace {

template <class Dot, class E, int kHeads>
class FewHeads {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  using Layout = ScoreLayout<Dot, kHeads>;
  using State = DecodeState<Dot, kHeads>;

  FewHeads(Arena& arena, const PagedAttentionParams& p)
      : scale_(p.scale_value),
        key_width_(p.d1),
        value_width_(p.d2),
        stride_(RowStride<Dot>(p.d1)),
        state_(arena, p.n1 / p.n2, p.d2),
        keys_(arena, kDecodeRows, p.d1, stride_),
        values_(arena, kDecodeRows, p.d2, state_.width()),
        query_(arena.Take<Operand>(state_.groups() * kHeads * stride_)),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(state_.groups() * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(state_.groups() * V::kLanes)) {}

  int64_t tile_rows() const { return Max(DecodeRows(state_.heads()), kTileStep); }
  const State& state() const { return state_; }

  void Start(const S* query) {
    const int64_t heads = state_.heads();
    for (int64_t h = 0; h < heads; ++h)
      PackRow<Dot, E>(query + h * key_width_, key_width_, query_ + h * stride_);
    std::memset(query_ + heads * stride_, 0, (state_.groups() * kHeads - heads) * stride_ * sizeof(Operand));
  }

  // Meanwhile this tile's values are fetched, then the next one's keys; those of the one after that must find
  // their pages in the TLB (values' pages touched as well: 2 to 4 % longer).
  void Add(RowTile<S>& tile, const RowTile<S>& next, const RowTile<S>& after_next) {
    const int64_t keys = RoundUp(tile.count, kTileStep);
    ScatteredPrefetch<S> values(tile.value, tile.count, value_width_, keys / kKeys);
    TouchPages(after_next.key, after_next.count);
    keys_.Pad(tile.key, tile.count, keys);
    Score(tile.key, keys, values);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys / Layout::kVectorKeys, tile.count, scale_,
                                 state_.statistics(i), probability_ + at, factor_ + i * V::kLanes);
    }
    values_.Pad(tile.value, tile.count, RoundUp(tile.count, Dot::kPair));
    AddValues(tile, next);
  }

  const float* scores() const { return score_; }

 private:
  // Accumulators of the scores, as many as registers allow: whole vectors of sums.
  static constexpr int kSums = V::kTileRows * V::kTileVectors >= 16 ? 16 : V::kLanes;
  static constexpr int kKeys = kSums / kHeads;
  static constexpr int64_t kTileStep = Max(Layout::kStep, kKeys);

  void Score(const S* const* row, int64_t keys, ScatteredPrefetch<S>& values) {
    for (int64_t i = 0; i < keys; i += kKeys) {
      values.NextPortion();
      const S* key[kKeys];
      for (int k = 0; k < kKeys; ++k) key[k] = row[Layout::Row(i + k)];
      for (int64_t g = 0; g < state_.groups(); ++g)
        ScoreKeys(key, query_ + g * kHeads * stride_, score_ + (g * kDecodeRows + i) * kHeads);
    }
  }

  void ScoreKeys(const S* const* key, const Operand* query, float* score) const {
    constexpr int kStep = V::kLanes * Dot::kPair;
    typename Dot::Reg sum[kSums];
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < stride_; d += kStep) {
      typename Dot::B k[kKeys];
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; ++i) k[i] = Dot::template LoadRow<E>(key[i] + d);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const auto q = Dot::LoadB(query + h * stride_ + d);
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) sum[i * kHeads + h] = Dot::MulAdd(sum[i * kHeads + h], k[i], q);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kSums; v += V::kLanes) V::Store(score + v, V::SumEach(sum + v));
  }

  void AddValues(const RowTile<S>& tile, const RowTile<S>& next) {
    const int64_t panels = CeilDiv(state_.width(), PanelColumns<Dot>(kHeads));
    ScatteredPrefetch<S> next_keys(next.key, next.count, key_width_,
                                   state_.groups() * panels * CeilDiv(tile.count, kWeightedRows));
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t heads = Min(kHeads, state_.heads() - i * kHeads);
      WeightedSum<Dot, E, kHeads>(
          heads,
          {tile.value, tile.count, state_.width(), probability_ + i * kDecodeRows * kHeads,
           kHeads * Dot::kPair, state_.out(i * kHeads), factor_ + i * V::kLanes},
          next_keys);
    }
  }

  const float scale_;
  const int64_t key_width_, value_width_, stride_;
  State state_;
  const PaddedRows<S> keys_, values_;
  Operand* query_;  // [head][stride_]
  float* score_;
  Operand* probability_;
  float* factor_;
};

}  // namespace
}  // namespace ms_nsa
