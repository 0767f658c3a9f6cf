// SPDX-License-Identifier: Apache-2.0
// A tile of cache rows and many query heads by matrix tiles (matrix_tiles.h): keys are A of the scores,
// values are packed as B of the weighted sums. The arithmetic is so short that the rows' way from memory
// decides.
#pragma once

#include "decode_softmax.h"
#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"
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
        state_(arena, p.n1 / p.n2, p.d2),
        query_(arena, state_.heads(), p.d1),
        key_(arena.Take<Operand>(kPortion * RowStride<Dot>(key_width_))),
        value_(arena.Take<Operand>(PackedSize<Dot>(kDecodeRows, value_width_))),
        score_(arena.Take<float>(state_.groups() * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(kDecodeRows * kHeads)),
        factor_(arena.Take<float>(kHeads)) {}

  int64_t tile_rows() const { return kDecodeRows; }
  const State& state() const { return state_; }

  void Start(const S* query) const { query_.Start(query); }

  // Meanwhile the next tile's rows are fetched, one for each that is read; those of the one after that must
  // find their pages in the TLB.
  void Add(RowTile<S>& tile, const RowTile<S>& next, const RowTile<S>& after_next) {
    TouchPages(after_next.key, after_next.count);
    TouchPages(after_next.value, after_next.count);
    Score(tile, next);
    PackValues(tile, next);
    const PackedB<Dot> values{value_, CeilDiv(tile.count, Dot::kPair), CeilDiv(value_width_, V::kLanes)};
    const int64_t padded = RoundUp(tile.count, Dot::kPair);
    for (int64_t i = 0; i < state_.groups(); ++i) {
      DecodeSoftmax<Dot, kHeads>(score_ + i * kDecodeRows * kHeads, padded, tile.count, scale_,
                                 state_.statistics(i), probability_, factor_);
      const Operand* weight[kHeads];
      float* out[kHeads];
      const int64_t heads = Min(kHeads, state_.heads() - i * kHeads);
      for (int64_t h = 0; h < heads; ++h) {
        weight[h] = probability_ + h * Dot::kPair;
        out[h] = state_.out(i * kHeads + h);
      }
      Gemm<Dot>(heads, weight, kHeads * Dot::kPair, values, out, Init::kScale, factor_);
    }
  }

  const float* scores() const { return score_; }

 private:
  static constexpr int64_t kPortion = Dot::kMatrixRows;  // rows between two breaks for prefetches

  void Score(const RowTile<S>& tile, const RowTile<S>& next) {
    const int64_t stride = RowStride<Dot>(key_width_);
    const Operand* key[kPortion];
    for (int64_t i = 0; i < kPortion; ++i) key[i] = key_ + i * stride;
    for (int64_t first = 0; first < tile.count; first += kPortion) {
      const int64_t rows = Min(kPortion, tile.count - first);
      for (int64_t r = 0; r < rows; ++r) {
        FetchRow(next.key, first + r, next.count, key_width_);
        PackRow<Dot, E>(tile.key[first + r], key_width_, key_ + r * stride);
      }
      for (int64_t i = 0; i < state_.groups(); ++i) {
        float* score[kPortion];
        for (int64_t r = 0; r < rows; ++r) score[r] = score_ + (i * kDecodeRows + first + r) * kHeads;
        Gemm<Dot>(rows, key, Dot::kPair, query_.Group(i), score, Init::kZero);
      }
    }
    for (int64_t i = tile.count; i < next.count; ++i) FetchRow(next.key, i, next.count, key_width_);
  }

  void PackValues(const RowTile<S>& tile, const RowTile<S>& next) {
    int64_t fetched = 0;
    const auto row = [&](int64_t i) {
      if (i == fetched) FetchRow(next.value, fetched++, next.count, value_width_);
      return tile.value[i];
    };
    PackInterleaved<Dot, E>(row, tile.count, value_width_, value_);
    for (; fetched < next.count; ++fetched) FetchRow(next.value, fetched, next.count, value_width_);
  }

  static void FetchRow(const S* const* row, int64_t i, int64_t count, int64_t width) {
    if (i < count) FetchLines(row[i], width * sizeof(S));
  }

  const float scale_;
  const int64_t key_width_, value_width_;
  State state_;
  const TransposedQuery<Dot, E> query_;
  Operand* key_;  // a portion of the tile's
  Operand* value_;
  float* score_;
  Operand* probability_;  // of one group of heads
  float* factor_;
};

}  // namespace
}  // namespace ms_nsa
