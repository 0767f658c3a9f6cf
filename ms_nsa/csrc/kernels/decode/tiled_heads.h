// SPDX-License-Identifier: Apache-2.0
// A tile of cache rows and many query heads by matrix tiles (matrix_tiles.h). Scores: keys are A, where they
// lie, queries B. Weighted sums: probabilities are A, values B, packed piece by piece so that the pieces stay
// in L1.
#pragma once

#include <type_traits>

#include "../matrix_tiles.h"
#include "../pack.h"
#include "decode_softmax.h"
#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "transposed_query.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class TiledHeads {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = V::kLanes;
  using State = DecodeState<Dot, kHeads>;

  TiledHeads(Arena& arena, const PagedAttentionParams& p)
      : scale_(p.scale_value),
        key_width_(p.d1),
        value_width_(p.d2),
        steps_(CeilDiv(p.d1, kDepth)),
        columns_(CeilDiv(p.d2, V::kLanes)),
        state_(arena, p.n1 / p.n2, p.d2),
        query_(arena, state_.heads(), p.d1),
        key_(arena.Take<Operand>(kDecodeRows * steps_ * kDepth)),
        value_(arena.Take<Operand>(2 * kPanel * kTile)),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(kHeads * kDecodeRows)) {}

  static int64_t TileRows(int64_t) { return kDecodeRows; }
  const State& state() const { return state_; }

  void Start(const S* query) const {
    query_.Start(query);
    std::memset(probability_, 0, kHeads * kDecodeRows * sizeof(Operand));  // of heads that there are not
  }

  // Meanwhile the rows that are ahead are fetched.
  void Add(const RowTile<S>& tile, const Ahead<S>& ahead) {
    const int64_t row_tiles = CeilDiv(tile.count, kRows);
    const int64_t pieces = CeilDiv(tile.count, kDepth) * CeilDiv(columns_, kPanel);
    TilePrefetch<S> prefetch(ahead, key_width_, value_width_,
                             state_.groups() * (steps_ * row_tiles + pieces * kBreaks));
    Score(tile, row_tiles, prefetch);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      Softmax(i, tile.count);
      AddValues(tile, i, prefetch);
    }
  }

  const float* scores() const { return score_; }

 private:
  static constexpr int64_t kRows = Dot::kMatrixRows, kDepth = Dot::kMatrixDepth, kTile = kRows * kDepth;
  static constexpr int kRowTiles = kDecodeRows / Dot::kMatrixRows;
  static constexpr int kPanel = 4;   // tiles of C side by side
  static constexpr int kBreaks = 4;  // for prefetches, in packing a piece
  static_assert(kHeads == kRows && kDecodeRows % kDepth == 0, "a tile of rows is whole matrix tiles");

  // Calls f with 0 to N - 1 as constants.
  template <int N, int kFirst = 0, class F>
  [[gnu::always_inline]] static inline void ForEach(F f) {
    f(std::integral_constant<int, kFirst>());
    if constexpr (kFirst + 1 < N) ForEach<N, kFirst + 1>(f);
  }

  // Calls f with n, at most N, as a constant.
  template <int N, class F>
  [[gnu::always_inline]] static inline void WithConstant(int64_t n, F f) {
    if constexpr (N > 1) {
      if (n < N) return WithConstant<N - 1>(n, f);
    }
    f(std::integral_constant<int, N>());
  }

  float* ScoresOf(int64_t group) const { return score_ + group * kDecodeRows * kHeads; }

  // A's tiles of rows: the first element, and the bytes from one row to the next.
  struct KeyTiles {
    const Operand* first[kRowTiles];
    int64_t bytes[kRowTiles];
  };

  void Score(const RowTile<S>& tile, int64_t row_tiles, TilePrefetch<S>& prefetch) const {
    const KeyTiles keys = KeysOf(tile);
    WithConstant<kRowTiles>(row_tiles, [&](auto n) {
      for (int64_t i = 0; i < state_.groups(); ++i) ScoreTiles<n>(keys, i, prefetch);
    });
  }

  // Keys stay where they are unless there is no whole matrix tile of evenly spaced ones.
  KeyTiles KeysOf(const RowTile<S>& tile) const {
    KeyTiles keys;
    const int64_t stride = steps_ * kDepth;
    for (int64_t t = 0; t * kRows < tile.count; ++t) {
      const S* const* row = tile.key + t * kRows;
      const int64_t rows = Min(kRows, tile.count - t * kRows);
      keys.first[t] = row[0];
      if (key_width_ == stride && EvenlySpaced(row, rows, kRows, &keys.bytes[t])) continue;
      Operand* copy = key_ + t * kRows * stride;
      for (int64_t r = 0; r < rows; ++r) PackRow<Dot, E>(row[r], key_width_, copy + r * stride);
      keys.first[t] = copy, keys.bytes[t] = stride * sizeof(Operand);
    }
    return keys;
  }

  // Sums of all rows at once: one sum alone would wait for its own last product.
  template <int N>
  void ScoreTiles(const KeyTiles& keys, int64_t group, TilePrefetch<S>& prefetch) const {
    const Operand* query = query_.Group(group).data;
    ForEach<N>([](auto t) { Dot::template ZeroTile<t>(); });
    for (int64_t step = 0; step < steps_; ++step) {
      Dot::template LoadTile<4>(query + step * kTile, kDepth * sizeof(Operand));
      ForEach<N>([&](auto t) {
        constexpr int kKey = 5 + t % 3;
        prefetch.NextPortion();
        Dot::template LoadTile<kKey>(keys.first[t] + step * kDepth, keys.bytes[t]);
        Dot::template MulAddTiles<t, kKey, 4>();
      });
    }
    float* score = ScoresOf(group);
    ForEach<N>(
        [&](auto t) { Dot::template StoreTile<t>(score + t * kRows * kHeads, kHeads * sizeof(float)); });
  }

  // Turns a group's scores, [row][head], into probabilities, [head][row], and advances the statistics and
  // what was summed before.
  void Softmax(int64_t group, int64_t count) const {
    constexpr bool kPrecise = Dot::kPreciseExp;
    float* score = ScoresOf(group);
    HeadStatistics<Dot>& statistics = state_.statistics(group);
    const int64_t end = RoundUp(count, kDepth);
    const auto max = V::Max(statistics.max, ScaleScores(score, count, end));
    const auto shift = V::Max(V::Set1(kLeastFinite), max);  // as in DecodeSoftmax
    const auto correction = Exp<V, kPrecise>(V::Sub(statistics.max, shift));
    float shifts[kHeads], factor[kHeads];
    V::Store(shifts, shift);
    V::Store(factor, correction);
    typename Dot::Reg sum[kHeads];
    for (int h = 0; h < kHeads; ++h) sum[h] = V::Zero();
    for (int64_t row = 0; row < end; row += kDepth) {
      typename Dot::Reg first[kHeads], second[kHeads];
      LoadTurned<V>(score + row * kHeads, first);
      LoadTurned<V>(score + (row + kRows) * kHeads, second);
      for (int64_t h = 0; h < state_.HeadsOf(group); ++h) {
        const auto by = V::Set1(shifts[h]);
        first[h] = Exp<V, kPrecise>(V::Sub(first[h], by));
        second[h] = Exp<V, kPrecise>(V::Sub(second[h], by));
        sum[h] = V::Add(sum[h], V::Add(first[h], second[h]));
        Dot::StoreRow(probability_ + h * kDecodeRows + row, first[h], second[h]);
      }
    }
    statistics = {max, V::Fma(statistics.sum, correction, V::SumEach(sum))};
    for (int64_t h = 0; h < state_.HeadsOf(group); ++h) ScaleOut(state_.out(group * kHeads + h), factor[h]);
  }

  // Scales the scores of count rows, hides rows [count, end), and returns the heads' maxima.
  typename Dot::Reg ScaleScores(float* score, int64_t count, int64_t end) const {
    const auto by = V::Set1(scale_), hidden = V::Set1(kNegativeInfinity);
    auto max = hidden;
    for (int64_t row = 0; row < count; ++row) {
      const auto z = V::Mul(V::Load(score + row * kHeads), by);
      V::Store(score + row * kHeads, z);
      max = V::Max(max, z);
    }
    for (int64_t row = count; row < end; ++row) V::Store(score + row * kHeads, hidden);
    return max;
  }

  void ScaleOut(float* out, float factor) const {
    if (factor == 1.0f) return;
    for (int64_t c = 0; c < columns_ * V::kLanes; c += V::kLanes)
      V::Store(out + c, V::Mul(V::Load(out + c), V::Set1(factor)));
  }

  // A piece is packed while the one before is multiplied.
  void AddValues(const RowTile<S>& tile, int64_t group, TilePrefetch<S>& prefetch) const {
    const int64_t depths = CeilDiv(tile.count, kDepth), pieces = depths * CeilDiv(columns_, kPanel);
    int64_t packed = 0;
    const auto pack = [&] {
      if (packed == pieces) return;
      PackPiece(tile, packed % depths * kDepth, packed / depths * kPanel, Piece(packed), prefetch);
      ++packed;
    };
    pack();
    for (int64_t column = 0, piece = 0; column < columns_; column += kPanel, piece += depths) {
      WithConstant<kPanel>(columns_ - column, [&](auto n) {
        float* out = state_.out(group * kHeads) + column * V::kLanes;
        const int64_t bytes = state_.width() * sizeof(float);
        ForEach<n>([&](auto t) { Dot::template LoadTile<t>(out + t * V::kLanes, bytes); });
        for (int64_t depth = 0; depth < depths; ++depth) {
          pack();
          MultiplyPiece<n>(probability_ + depth * kDepth, Piece(piece + depth));
        }
        ForEach<n>([&](auto t) { Dot::template StoreTile<t>(out + t * V::kLanes, bytes); });
      });
    }
  }

  Operand* Piece(int64_t i) const { return value_ + i % 2 * kPanel * kTile; }

  template <int N>
  static void MultiplyPiece(const Operand* probability, const Operand* value) {
    Dot::template LoadTile<4>(probability, kDecodeRows * sizeof(Operand));
    ForEach<N>([&](auto t) {
      constexpr int kValue = 5 + t % 3;
      Dot::template LoadTile<kValue>(value + t * kTile, kDepth * sizeof(Operand));
      Dot::template MulAddTiles<t, 4, kValue>();
    });
  }

  // The tile's rows [row, row + kDepth) as B, up to kPanel tiles from a column on; zeros where there are
  // none.
  void PackPiece(const RowTile<S>& tile, int64_t row, int64_t column, Operand* to,
                 TilePrefetch<S>& prefetch) const {
    const int64_t first = column * V::kLanes, width = Min(value_width_ - first, kPanel * V::kLanes);
    for (int64_t r = 0; r < kDepth; r += Dot::kPair, to += kDepth) {
      if (r % (kDepth / kBreaks) == 0) prefetch.NextPortion();
      const int64_t left = tile.count - row - r;
      if (left <= 0) {
        for (int t = 0; t < kPanel; ++t) std::memset(to + t * kTile, 0, kDepth * sizeof(Operand));
        continue;
      }
      const S* const* value = tile.value + row + r;
      PackPair(value[0] + first, left == 1 ? nullptr : value[1] + first, width, to);
    }
  }

  static void PackPair(const S* first, const S* second, int64_t width, Operand* to) {
    if (second != nullptr && width == kPanel * V::kLanes) {
#pragma GCC unroll 4
      for (int t = 0; t < kPanel; ++t)
        Dot::template CopyPair<E>(to + t * kTile, first + t * V::kLanes, second + t * V::kLanes);
      return;
    }
    for (int64_t c = 0; c < width; c += V::kLanes, to += kTile)
      CopyPairTail<Dot, E>(to, first + c, second == nullptr ? nullptr : second + c, width - c);
  }

  const float scale_;
  const int64_t key_width_, value_width_, steps_, columns_;
  State state_;
  const TransposedQuery<Dot, E> query_;
  Operand* key_;    // copies
  Operand* value_;  // two pieces
  float* score_;
  Operand* probability_;  // of one group of heads
};

}  // namespace
}  // namespace ms_nsa
