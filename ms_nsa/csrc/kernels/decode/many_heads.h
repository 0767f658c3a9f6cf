// SPDX-License-Identifier: Apache-2.0
// A tile of cache rows and many query heads, which is bound by arithmetic. The lanes hold the heads while
// elements of copied keys are broadcast, so no lanes have to be added. Values are read in place.
// Data is moved in small pieces between the products, which hide the cost. (Values packed as the
// operand of the common matrix product cost 4 % more, at once or between the products of the scores.)
#pragma once

#include "decode_softmax.h"
#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"
#include "transposed_query.h"
#include "weighted_sum.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class ManyHeads {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = V::kLanes;
  using State = DecodeState<Dot, kHeads>;

  ManyHeads(Arena& arena, const PagedAttentionParams& p)
      : scale_(p.scale_value),
        key_width_(p.d1),
        value_width_(p.d2),
        state_(arena, p.n1 / p.n2, p.d2),
        values_(arena, kDecodeRows, p.d2, state_.width()),
        query_(arena, state_.heads(), p.d1),
        key_(arena.Take<Operand>(2 * kKeys * RowStride<Dot>(key_width_))),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(state_.groups() * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(state_.groups() * kHeads)) {}

  static int64_t TileRows(int64_t) { return kDecodeRows; }
  const State& state() const { return state_; }

  void Start(const S* query) const { query_.Start(query); }

  // Tiles of 128 rows cost 3 % more, of 32 rows 8 %; fetching keys during the scores only and values during
  // the sums only, 6 %; not touching the pages, 3 to 5 %.
  void Add(RowTile<S>& tile, const Ahead<S>& ahead) {
    const int64_t keys = RoundUp(tile.count, kKeys);
    const int64_t score_work = keys * state_.groups() * CeilDiv(key_width_, Dot::kPair);
    const int64_t value_work = tile.count * state_.heads() * state_.width() / (V::kLanes * Dot::kPair);
    PacedPrefetch<S> prefetch(ahead, key_width_, value_width_, score_work + value_work);
    Score(tile, keys, prefetch);
    values_.Pad(tile.value, tile.count, RoundUp(tile.count, Dot::kPair));
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys, tile.count, scale_, state_.statistics(i),
                                 probability_ + at, factor_ + i * kHeads);
      WeightedSum<Dot, E, kWeighted>(state_.HeadsOf(i),
                                     {tile.value, tile.count, state_.width(), probability_ + at,
                                      kHeads * Dot::kPair, state_.out(i * kHeads), factor_ + i * kHeads},
                                     prefetch);
    }
  }

  const float* scores() const { return score_; }

 private:
  // Heads whose accumulators fit in registers together, two vectors of each.
  static constexpr int kWeighted = V::kTileRows * V::kTileVectors >= 16 ? 8 : 4;
  static constexpr int kKeys = 8;  // accumulators enough to hide the latency of a product
  static_assert(kDecodeRows % kKeys == 0 && kKeys % Dot::kPair == 0, "a tile is whole steps");
  static constexpr int64_t kStep = V::kLanes * Dot::kPair;  // elements of a key that are copied at once
  // Elements between two breaks, in which data is moved: some 70 ns.
  static constexpr int64_t kPortion = RoundUp(32 * Dot::kPair, kStep);

  // How far the copies of a tile's keys are, kKeys rows ahead of the products.
  struct Copies {
    const RowTile<S>& tile;
    const int64_t keys, breaks;
    int64_t done, copied;
  };

  void Score(const RowTile<S>& tile, int64_t keys, PacedPrefetch<S>& prefetch) {
    Copies copies{tile, keys, keys / kKeys * state_.groups() * CeilDiv(key_width_, kPortion), 0, 0};
    CopyKeys(copies, kKeys);
    for (int64_t i = 0; i < keys; i += kKeys) {
      const Operand* key = key_ + i / kKeys % 2 * kKeys * RowStride<Dot>(key_width_);
      for (int64_t g = 0; g < state_.groups(); ++g) {
        ScoreKeys(key, query_.Group(g).data, score_ + (g * kDecodeRows + i) * kHeads, copies, prefetch);
      }
    }
  }

  void ScoreKeys(const Operand* key, const Operand* query, float* score, Copies& copies,
                 PacedPrefetch<S>& prefetch) {
    typename Dot::Reg sum[kKeys];
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < key_width_; d += kPortion) {
      prefetch.Advance(0, 0, kKeys * kPortion / Dot::kPair);
      ++copies.done;
      CopyKeys(copies, Min(kKeys + copies.keys * copies.done / copies.breaks, copies.keys));
      const int64_t portion_end = Min(d + kPortion, key_width_);
      for (int64_t first = d; first < portion_end; first += kStep, key += kKeys * kStep) {
        const int64_t end = Min(kStep, portion_end - first);
        for (int64_t at = 0; at < end; at += Dot::kPair, query += kHeads * Dot::kPair) {
          const auto q = Dot::LoadB(query);
#pragma GCC unroll 8
          for (int i = 0; i < kKeys; ++i) sum[i] = Dot::MulAddBroadcast(sum[i], key + i * kStep + at, q);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) V::Store(score + i * kHeads, sum[i]);
  }

  // Copies as [step of the depth][key][kStep], so that products find the keys at constant distances.
  void CopyKeys(Copies& copies, int64_t end) {
    for (; copies.copied < end; ++copies.copied) {
      // Beyond the last row some row is scored again; the softmax hides that.
      const S* row = copies.tile.key[Min(copies.copied, copies.tile.count - 1)];
      Operand* key = key_ + copies.copied / kKeys % 2 * kKeys * RowStride<Dot>(key_width_) +
                     copies.copied % kKeys * kStep;
      const int64_t whole = key_width_ / kStep * kStep;
      ForEachPlace(whole, kStep,
                   [&](int64_t i) { Dot::StoreDepth(key + i * kKeys, Dot::template LoadDepth<E>(row + i)); });
      if (whole < key_width_) PackRow<Dot, E>(row + whole, key_width_ - whole, key + whole * kKeys);
    }
  }

  const float scale_;
  const int64_t key_width_, value_width_;
  State state_;
  const PaddedRows<S> values_;
  const TransposedQuery<Dot, E> query_;
  Operand* key_;  // the rows that are being scored, and the next ones
  float* score_;
  Operand* probability_;
  float* factor_;
};

}  // namespace
}  // namespace ms_nsa
