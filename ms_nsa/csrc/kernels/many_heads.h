// A tile of cache rows and many query heads: the arithmetic bounds it. The heads lie in the lanes while
// elements of copied keys are broadcast, so there are no lanes to add up; values become the operand of the
// common matrix product. Whatever waits for memory or only moves data is done in small pieces between the
// products, which hide it.
#pragma once

#include "decode_softmax.h"
#include "packed_values.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class ManyHeads {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = V::kLanes;

  ManyHeads(Arena& arena, const PagedAttentionParams& p)
      : scale_(p.scale_value),
        width_(p.d1),
        state_(arena, p.n1 / p.n2, p.d2),
        values_(arena, p.d2),
        query_size_(PackedSize<Dot>(width_, kHeads)),
        query_(arena.Take<Operand>(state_.groups() * query_size_)),
        key_(arena.Take<Operand>(2 * kKeys * RowStride<Dot>(width_))),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(state_.groups() * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(state_.groups() * kHeads)),
        probability_row_(arena.Take<const Operand*>(state_.heads())),
        out_row_(arena.Take<float*>(state_.heads())) {}

  int64_t tile_rows() const { return kDecodeRows; }
  const DecodeState<Dot, kHeads>& state() const { return state_; }

  void Start(const S* query) {
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t heads = Min(kHeads, state_.heads() - i * kHeads);
      PackTransposed<Dot, E>(query + i * kHeads * width_, width_, heads, width_, query_ + i * query_size_);
    }
    for (int64_t h = 0; h < state_.heads(); ++h) {
      probability_row_[h] = probability_ + h / kHeads * kDecodeRows * kHeads + h % kHeads * Dot::kPair;
      out_row_[h] = state_.out(h);
    }
    state_.Reset();
  }

  // Meanwhile the next tile's rows are fetched; those of the one after that must find their pages in the TLB.
  void Add(const RowTile<S>& tile, const RowTile<S>& next, const RowTile<S>& after_next) {
    TouchPages(after_next.key, after_next.count, width_);
    TouchPages(after_next.value, after_next.count, values_.width());
    const int64_t keys = RoundUp(tile.count, kKeys);
    const int64_t score_work = keys * state_.groups() * CeilDiv(width_, Dot::kPair);
    PacedPrefetch<S> prefetch({next.key, next.count, width_}, {next.value, next.count, values_.width()},
                              score_work + values_.Work(tile.count, state_.heads()));
    Score(tile, prefetch);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys, tile.count, scale_, state_.statistics(i),
                                 probability_ + at, factor_ + i * kHeads);
    }
    values_.Add(tile.count, state_.heads(), probability_row_, kHeads * Dot::kPair, out_row_, factor_,
                prefetch);
  }

 private:
  static constexpr int kKeys = 8;  // accumulators enough to hide the latency of a product
  static_assert(kDecodeRows % kKeys == 0 && kKeys % Dot::kPair == 0, "a tile is whole steps");
  static constexpr int64_t kStep = V::kLanes * Dot::kPair;  // elements of a key that are copied at once
  // Elements between two breaks, in which data is moved: some 70 ns.
  static constexpr int64_t kPortion = RoundUp(32 * Dot::kPair, kStep);

  // What is moved during a tile's scores: its keys, kKeys rows ahead, and its values.
  struct Moves {
    const RowTile<S>& tile;
    const int64_t keys, breaks;
    int64_t done, copied, packed;
  };

  void Score(const RowTile<S>& tile, PacedPrefetch<S>& prefetch) {
    const int64_t keys = RoundUp(tile.count, kKeys);
    Moves moves{tile, keys, keys / kKeys * state_.groups() * CeilDiv(width_, kPortion), 0, 0, 0};
    CopyKeys(moves, kKeys);
    for (int64_t i = 0; i < keys; i += kKeys) {
      const Operand* key = key_ + i / kKeys % 2 * kKeys * RowStride<Dot>(width_);
      for (int64_t g = 0; g < state_.groups(); ++g) {
        ScoreKeys(key, query_ + g * query_size_, score_ + (g * kDecodeRows + i) * kHeads, moves, prefetch);
      }
    }
  }

  void ScoreKeys(const Operand* key, const Operand* query, float* score, Moves& moves,
                 PacedPrefetch<S>& prefetch) {
    typename Dot::Reg sum[kKeys];
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < width_; d += kPortion) {
      prefetch.Advance(kKeys * kPortion / Dot::kPair);
      Move(moves);
      const int64_t portion_end = Min(d + kPortion, width_);
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

  void Move(Moves& moves) {
    ++moves.done;
    CopyKeys(moves, Min(kKeys + moves.keys * moves.done / moves.breaks, moves.keys));
    const int64_t pairs = CeilDiv(moves.tile.count, Dot::kPair) * moves.done / moves.breaks;
    for (; moves.packed < pairs; ++moves.packed) values_.Pack(moves.tile, moves.packed);
  }

  // Copies as [step of the depth][key][kStep], so that products find the keys at constant distances.
  void CopyKeys(Moves& moves, int64_t end) {
    for (; moves.copied < end; ++moves.copied) {
      // Beyond the last row some row is scored again; the softmax hides that.
      const S* row = moves.tile.key[Min(moves.copied, moves.tile.count - 1)];
      Operand* key =
          key_ + moves.copied / kKeys % 2 * kKeys * RowStride<Dot>(width_) + moves.copied % kKeys * kStep;
      const int64_t whole = width_ / kStep * kStep;
      ForEachPlace(whole, kStep,
                   [&](int64_t i) { Dot::StoreDepth(key + i * kKeys, Dot::template LoadDepth<E>(row + i)); });
      if (whole < width_) PackRow<Dot, E>(row + whole, width_ - whole, key + whole * kKeys);
    }
  }

  const float scale_;
  const int64_t width_;  // of keys
  DecodeState<Dot, kHeads> state_;
  PackedValues<Dot, E> values_;
  const int64_t query_size_;
  Operand* query_;  // transposed, for each group of heads
  Operand* key_;    // the rows that are being scored, and the next ones
  float* score_;
  Operand* probability_;
  float* factor_;
  const Operand** probability_row_;  // of each head
  float** out_row_;
};

}  // namespace
}  // namespace ms_nsa
