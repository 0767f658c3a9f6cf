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

  static int64_t TileRows(int64_t group) { return Max(DecodeRows(group), kTileStep); }
  const State& state() const { return state_; }

  void Start(const S* query) {
    const int64_t heads = state_.heads();
    for (int64_t h = 0; h < heads; ++h)
      PackRow<Dot, E>(query + h * key_width_, key_width_, query_ + h * stride_);
    std::memset(query_ + heads * stride_, 0, (state_.groups() * kHeads - heads) * stride_ * sizeof(Operand));
  }

  void Add(RowTile<S>& tile, const Ahead<S>& ahead) {
    const int64_t keys = RoundUp(tile.count, kTileStep);
    keys_.Pad(tile.key, tile.count, keys);
    Score(tile, keys, ahead);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys / Layout::kVectorKeys, tile.count, scale_,
                                 state_.statistics(i), probability_ + at, factor_ + i * V::kLanes);
    }
    values_.Pad(tile.value, tile.count, RoundUp(tile.count, Dot::kPair));
    AddValues(tile, ahead);
  }

  const float* scores() const { return score_; }

 private:
  // Accumulators of the scores, as many as registers allow: whole vectors of sums.
  static constexpr int kSums = V::kTileRows * V::kTileVectors >= 16 ? 16 : V::kLanes;
  static constexpr int kKeys = kSums / kHeads;
  static constexpr int kDepth = V::kLanes * Dot::kPair;         // elements of a key at once
  static constexpr int64_t kPanel = PanelColumns<Dot>(kHeads);  // columns of the weighted sums at once
  static constexpr int64_t kLine = kAlignment / sizeof(S);
  // Rows come to L1 so many rows ahead of their use (8 and 16 take as long; keys left in L2 take 1.15 times
  // as long where a head's rows lie apart).
  static constexpr int64_t kNearKeys = kKeys, kNearValues = 4;
  static constexpr int64_t kTileStep = Max(Layout::kStep, kKeys);

  void Score(const RowTile<S>& tile, int64_t keys, const Ahead<S>& ahead) {
    for (int64_t i = 0; i < keys; i += kKeys) {
      const S *key[kKeys], *fetch[kKeys];
      for (int k = 0; k < kKeys; ++k) {
        key[k] = tile.key[Layout::Row(i + k)];
        fetch[k] = ahead.count == 0 ? key[k] : ahead.key[Min(i + k, ahead.count - 1)];
        FetchLine<kToL2>(fetch[k] + key_width_ - 1);  // a row need not begin with a line
      }
      FetchNear(tile, i + kNearKeys);
      for (int64_t g = 0; g < state_.groups(); ++g) {
        ScoreKeys(key, query_ + g * kHeads * stride_, fetch, score_ + (g * kDecodeRows + i) * kHeads);
      }
    }
  }

  // Brings kKeys keys to L1, or, behind them, the first values.
  void FetchNear(const RowTile<S>& tile, int64_t first) const {
    for (int64_t i = first; i < Min(first + kKeys, tile.count); ++i)
      FetchLines<kToL1>(tile.key[i], key_width_ * sizeof(S));
    if (first < tile.count) return;
    for (int64_t i = 0; i < Min(kNearValues, tile.count); ++i)
      FetchLines<kToL1>(tile.value[i], Min(kPanel, value_width_) * sizeof(S));
  }

  void ScoreKeys(const S* const* key, const Operand* query, const S* const* fetch, float* score) const {
    typename Dot::Reg sum[kSums];
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < stride_; d += kDepth) {
      typename Dot::B k[kKeys];
      if (d * sizeof(S) % kAlignment == 0) {
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) FetchLine<kToL2>(fetch[i] + d);
      }
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

  // Hands out prefetches in the weighted sums, for each row of a panel.
  struct ValuePrefetch {
    const RowTile<S>& tile;
    const Ahead<S>& ahead;
    const int64_t width;

    static constexpr int64_t kRows = Dot::kPair;
    [[gnu::always_inline]] inline void Advance(int64_t first, int64_t column, int64_t) const {
#pragma GCC unroll 2
      for (int64_t row = first; row < first + kRows; ++row) {
        FetchFar(row, column);
        FetchNear(row + kNearValues, column);
      }
    }

    [[gnu::always_inline]] inline void FetchFar(int64_t row, int64_t column) const {
      if (row >= ahead.count) return;
      FetchPanel<kToL2>(ahead.value[row] + column);
      if (column + kPanel >= width) FetchLine<kToL2>(ahead.value[row] + width - 1);
    }

    // Behind the last row of a panel come the first ones of the next.
    [[gnu::always_inline]] inline void FetchNear(int64_t row, int64_t column) const {
      if (row < tile.count) {
        FetchPanel<kToL1>(tile.value[row] + column);
      } else if (column + kPanel < width && row - tile.count < tile.count) {
        FetchPanel<kToL1>(tile.value[row - tile.count] + column + kPanel);
      }
    }

    template <int kLocality>
    [[gnu::always_inline]] static inline void FetchPanel(const S* p) {
#pragma GCC unroll 8
      for (int64_t c = 0; c < kPanel; c += kLine) FetchLine<kLocality>(p + c);
    }
  };

  void AddValues(const RowTile<S>& tile, const Ahead<S>& ahead) {
    const ValuePrefetch prefetch{tile, ahead, state_.width()};
    for (int64_t i = 0; i < state_.groups(); ++i) {
      WeightedSum<Dot, E, kHeads>(
          state_.HeadsOf(i),
          {tile.value, tile.count, state_.width(), probability_ + i * kDecodeRows * kHeads,
           kHeads * Dot::kPair, state_.out(i * kHeads), factor_ + i * V::kLanes},
          prefetch);
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
