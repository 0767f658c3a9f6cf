// Values of a tile of cache rows as the operand B[row][column] of the matrix product.
#pragma once

#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class PackedValues {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;

  PackedValues(Arena& arena, int64_t width)
      : width_(width), padded_(RowStride<Dot>(width)), packed_(arena.Take<Operand>(kDecodeRows * padded_)) {}

  int64_t width() const { return width_; }

  // Vector products of Add.
  int64_t Work(int64_t rows, int64_t heads) const {
    return heads * CeilDiv(rows, Dot::kPair) * (padded_ / V::kLanes);
  }

  // Packs the tile's k-th kPair rows, or the last row alone.
  void Pack(const RowTile<S>& tile, int64_t k) {
    const S* const* row = tile.value + k * Dot::kPair;
    const int64_t depth = CeilDiv(tile.count, Dot::kPair);
    const int64_t rows = Min(Dot::kPair, tile.count - k * Dot::kPair);
    const int64_t whole = rows == Dot::kPair ? width_ / kStep * kStep : 0;
    ForEachPlace(whole, kStep, [&](int64_t column) { PackColumns(row, column, column, k, depth); });
    for (int64_t column = whole; column < width_; column += kStep) {
      const int64_t count = Min(kStep, width_ - column);
      const Tail<S, kStep> first(row[0] + column, count),
          second(row[rows - 1] + column, rows == Dot::kPair ? count : 0);
      const S* const padded[] = {first.element, second.element};
      PackColumns(padded, 0, column, k, depth);
    }
  }

  // out[head] = out[head] * factor[head] + sum over the rows of probability[head] * value.
  void Add(int64_t rows, int64_t heads, const Operand* const* probability, int64_t step, float* const* out,
           const float* factor, PacedPrefetch<S>& prefetch) const {
    const int64_t depth = CeilDiv(rows, Dot::kPair);
    for (int64_t column = 0; column < padded_; column += kPanel) {
      const int64_t vectors = Min(kPanel, padded_ - column) / V::kLanes;
      for (int64_t h = 0; h < heads; h += V::kTileRows) {
        const int64_t count = Min(V::kTileRows, heads - h);
        prefetch.Advance(count * vectors * depth);
        GemmPanel<Dot>(vectors, count,
                       {probability + h, step, packed_ + column * Dot::kPair * depth, depth, out + h, column,
                        Init::kScale, factor + h});
      }
    }
  }

 private:
  static constexpr int64_t kPanel = V::kTileVectors * V::kLanes;  // columns
  static constexpr int64_t kStep = V::kLanes * Dot::kPair;        // columns that are read at once

  void PackColumns(const S* const* row, int64_t from, int64_t column, int64_t k, int64_t depth) {
    typename Dot::B b[Dot::kPair];
    Dot::template LoadColumns<E>(row, from, b);
    const int64_t panel = column / kPanel * kPanel, in_panel = Min(kPanel, padded_ - panel);
    Operand* out = packed_ + (panel * depth + k * in_panel + column - panel) * Dot::kPair;
    for (int i = 0; i < Dot::kPair; ++i) Dot::StoreDepth(out + i * kStep, (typename Dot::Reg)b[i]);
  }

  const int64_t width_, padded_;
  Operand* packed_;
};

}  // namespace
}  // namespace ms_nsa
