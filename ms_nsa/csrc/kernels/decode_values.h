// Probability-weighted sums of a tile's value rows, in two ways with one interface:
// out[head] = out[head] * factor[head] + sum over rows of probability[row][head] * value[row].
#pragma once

#include "scattered_prefetch.h"
#include "scratch_rows.h"

namespace ms_nsa {
namespace {

template <class Dot>
struct WeightedHeads {
  int64_t count;
  const typename Dot::Operand* const*
      probability;  // per head: kPair rows, then step operands on the next ones
  int64_t step;
  float* const* out;
  const float* factor;
};

// For few heads: values are read where they lie.
template <class Dot, class E>
class InPlaceValues {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;

  InPlaceValues(Arena& arena, int64_t width)
      : width_(RowStride<Dot>(width)), rows_(arena, kDecodeRows, width, width_) {}

  int64_t portions(int64_t heads) const {
    return CeilDiv(heads, kTileHeads) * CeilDiv(width_, V::kTileVectors * V::kLanes);
  }

  void Add(const S** row, int64_t count, const WeightedHeads<Dot>& heads, ScatteredPrefetch<S> prefetch) {
    const int64_t end = RoundUp(count, Dot::kPair);
    rows_.Pad(row, count, end);
    for (int64_t h = 0; h < heads.count; h += kTileHeads)
      AddTile<kTileHeads>(Min(kTileHeads, heads.count - h), row, end, heads, h, prefetch);
  }

 private:
  // Of the accumulators that registers hold, 4 heads by 4 vectors leave room for what is read.
  static constexpr int kTileHeads = 4;

  template <int R>
  void AddTile(int64_t count, const S* const* row, int64_t end, const WeightedHeads<Dot>& heads, int64_t head,
               ScatteredPrefetch<S>& prefetch) {
    if constexpr (R > 1) {
      if (count < R) return AddTile<R - 1>(count, row, end, heads, head, prefetch);
    }
    // Few heads leave registers for wider panels: the rows are then walked through fewer times.
    AddPanels<R, RoundUp(R <= 2 ? 2 * V::kTileVectors : V::kTileVectors, Dot::kPair)>(row, end, heads, head,
                                                                                      0, prefetch);
  }

  // NV vectors of columns at a time, then fewer.
  template <int R, int NV>
  void AddPanels(const S* const* row, int64_t end, const WeightedHeads<Dot>& heads, int64_t head,
                 int64_t column, ScatteredPrefetch<S>& prefetch) {
    for (; column + NV * V::kLanes <= width_; column += NV * V::kLanes) {
      prefetch.NextPortion();
      AddPanel<R, NV>(row, end, heads, head, column);
    }
    if constexpr (NV > Dot::kPair) {
      if (column < width_) AddPanels<R, RoundUp(NV / 2, Dot::kPair)>(row, end, heads, head, column, prefetch);
    }
  }

  template <int R, int NV>
  void AddPanel(const S* const* row, int64_t end, const WeightedHeads<Dot>& heads, int64_t head,
                int64_t column) {
    typename Dot::Reg acc[R][NV];
    const typename Dot::Operand* probability[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      probability[r] = heads.probability[head + r];
      const auto factor = V::Set1(heads.factor[head + r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v)
        acc[r][v] = V::Mul(V::Load(heads.out[head + r] + column + v * V::kLanes), factor);
    }
    for (int64_t i = 0, p = 0; i < end; i += Dot::kPair, p += heads.step) {
      typename Dot::B value[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v += Dot::kPair)
        Dot::template LoadColumns<E>(row + i, column + v * V::kLanes, value + v);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const auto x = Dot::Broadcast(probability[r] + p);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = Dot::MulAdd(acc[r][v], x, value[v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) V::Store(heads.out[head + r] + column + v * V::kLanes, acc[r][v]);
    }
  }

  const int64_t width_;
  const PaddedRows<S> rows_;
};

// For many heads: values become the operand B[row][column] of the matrix product.
template <class Dot, class E>
class PackedValues {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;

  PackedValues(Arena& arena, int64_t width)
      : width_(width),
        padded_(RowStride<Dot>(width)),
        packed_(arena.Take<typename Dot::Operand>(kDecodeRows * padded_)) {}

  int64_t portions(int64_t heads) const { return CeilDiv(heads, V::kTileRows) * CeilDiv(padded_, kPanel); }

  void Add(const S** row, int64_t count, const WeightedHeads<Dot>& heads, ScatteredPrefetch<S> prefetch) {
    const int64_t depth = CeilDiv(count, Dot::kPair);
    for (int64_t k = 0; k < depth; ++k)
      CopyPair(row + k * Dot::kPair, Min(Dot::kPair, count - k * Dot::kPair), k, depth);
    for (int64_t column = 0; column < padded_; column += kPanel) {
      const int64_t vectors = Min(kPanel, padded_ - column) / V::kLanes;
      for (int64_t h = 0; h < heads.count; h += V::kTileRows) {
        prefetch.NextPortion();
        const GemmArgs<Dot> args{heads.probability + h,
                                 heads.step,
                                 packed_ + column * Dot::kPair * depth,
                                 depth,
                                 heads.out + h,
                                 column,
                                 Init::kScale,
                                 heads.factor + h};
        GemmPanel<Dot>(vectors, Min(V::kTileRows, heads.count - h), args);
      }
    }
  }

 private:
  static constexpr int64_t kPanel = V::kTileVectors * V::kLanes;  // columns
  static constexpr int64_t kStep = V::kLanes * Dot::kPair;        // columns that are read at once

  // kPair rows, or the last one alone.
  void CopyPair(const S* const* row, int64_t rows, int64_t k, int64_t depth) {
    const int64_t whole = rows == Dot::kPair ? width_ / kStep * kStep : 0;
    ForEachPlace(whole, kStep, [&](int64_t column) { CopyColumns(row, column, column, k, depth); });
    for (int64_t column = whole; column < width_; column += kStep) {
      const int64_t count = Min(kStep, width_ - column);
      const Tail<S, kStep> first(row[0] + column, count),
          second(row[rows - 1] + column, rows == Dot::kPair ? count : 0);
      const S* const padded[] = {first.element, second.element};
      CopyColumns(padded, 0, column, k, depth);
    }
  }

  void CopyColumns(const S* const* row, int64_t from, int64_t column, int64_t k, int64_t depth) {
    typename Dot::B b[Dot::kPair];
    Dot::template LoadColumns<E>(row, from, b);
    const int64_t panel = column / kPanel * kPanel, in_panel = Min(kPanel, padded_ - panel);
    auto* out = packed_ + (panel * depth + k * in_panel + column - panel) * Dot::kPair;
    for (int i = 0; i < Dot::kPair; ++i) Dot::StoreDepth(out + i * kStep, (typename Dot::Reg)b[i]);
  }

  const int64_t width_, padded_;
  typename Dot::Operand* packed_;
};

}  // namespace
}  // namespace ms_nsa
