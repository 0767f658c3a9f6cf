// SPDX-License-Identifier: Apache-2.0
// The matrix product where the processor has registers for whole tiles of matrices: 16 rows of C, up to four
// vectors wide, pass over a panel of B. A's rows are read where they lie if they are evenly spaced, otherwise
// they are copied; so are the ends of what is no whole tile. A row's bits do not depend on that.
#pragma once

#include <cstdint>
#include <cstring>

#include "../simd/element.h"
#include "gemm_args.h"

namespace ms_nsa {
namespace {

// Bytes from each of the rows to the next if that is the same everywhere and all 16 rows of a tile exist.
template <class T>
inline bool EvenlySpaced(const T* const* row, int64_t rows, int64_t all, int64_t* bytes) {
  if (rows < all) return false;
  const int64_t step = row[1] - row[0];
  for (int64_t r = 2; r < all; ++r) {
    if (row[r] - row[r - 1] != step) return false;
  }
  *bytes = step * static_cast<int64_t>(sizeof(T));
  return true;
}

// kLanes rows that lie side by side, their depth steps `step` operands apart, turned round: the first `rows`
// of them along the depth, `stride` apart, with zeros behind the first `steps`.
template <class Dot>
inline void TurnSteps(const typename Dot::Operand* from, int64_t step, int64_t steps, int64_t rows,
                      typename Dot::Operand* to, int64_t stride) {
  using V = typename Dot::Vec;
  typename Dot::Reg tile[V::kLanes];
  for (int64_t i = 0; i < V::kLanes; ++i)
    tile[i] = i < steps ? Dot::template LoadDepth<typename Dot::Element>(from + i * step) : V::Zero();
  V::Transpose(tile);
  for (int64_t r = 0; r < rows; ++r) Dot::StoreDepth(to + r * stride, tile[r]);
}

// Up to 16 rows of A over the depth of a product, as tiles of kMatrixDepth elements.
template <class Dot>
class TileRows {
 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  static constexpr int64_t kRows = Dot::kMatrixRows, kDepth = Dot::kMatrixDepth;
  // Copies hold this much of the depth; a longer one is copied in portions, for every panel again.
  static constexpr int64_t kMaxSteps = 16;  // of kDepth elements

  TileRows(const GemmArgs<Dot>& g, int64_t rows) : g_(g), rows_(rows), whole_(g.depth * Dot::kPair / kDepth) {
    in_place_ = g.a_step == Dot::kPair && EvenlySpaced(g.a, rows, kRows, &bytes_);
    if (in_place_ && whole_ < steps()) CopyRow(whole_);
  }

  int64_t steps() const { return CeilDiv(g_.depth * Dot::kPair, kDepth); }

  // Makes kTile the rows' elements of a step; steps are asked for in ascending order, for each panel anew.
  template <int kTile>
  [[gnu::always_inline]] inline void Load(int64_t step) {
    if (in_place_ && step < whole_) {
      Dot::template LoadTile<kTile>(g_.a[0] + g_.a_first + step * kDepth, bytes_);
    } else {
      if (!in_place_ && step / kMaxSteps != portion_) CopyPortion(step / kMaxSteps);
      Dot::template LoadTile<kTile>(copy_[step % kMaxSteps], kDepth * sizeof(Operand));
    }
  }

 private:
  void CopyPortion(int64_t portion) {
    portion_ = portion;
    for (int64_t step = portion * kMaxSteps; step < Min((portion + 1) * kMaxSteps, steps()); ++step) {
      if (g_.a_step == Dot::kPair) {
        CopyRow(step);
      } else {
        CopyColumn(step);
      }
    }
  }

  // Rows lie along the depth.
  [[gnu::always_inline]] inline void CopyRow(int64_t step) {
    Operand* to = copy_[step % kMaxSteps];
    const int64_t first = step * kDepth, count = Min(kDepth, g_.depth * Dot::kPair - first);
    for (int64_t r = 0; r < rows_; ++r, to += kDepth) {
      const Operand* from = g_.a[r] + g_.a_first + first;
      Dot::StoreDepth(to, LoadDepth(from, count));
    }
  }

  // Rows lie side by side, and their depth steps a_step apart.
  void CopyColumn(int64_t step) {
    const int64_t first = step * kDepth / Dot::kPair, count = Min(V::kLanes, g_.depth - first);
    TurnSteps<Dot>(g_.a[0] + g_.a_first + first * g_.a_step, g_.a_step, count, V::kLanes,
                   copy_[step % kMaxSteps], kDepth);
  }

  // kDepth elements, zeros beyond the first `count`.
  static typename Dot::Reg LoadDepth(const Operand* p, int64_t count) {
    using Element = typename Dot::Element;
    if (count == kDepth) return Dot::template LoadDepth<Element>(p);
    const Tail<Operand, kDepth> tail(p, count);
    return Dot::template LoadDepth<Element>(tail.element);
  }

  const GemmArgs<Dot>& g_;
  const int64_t rows_, whole_;  // whole steps
  bool in_place_;
  int64_t bytes_ = 0, portion_ = -1;
  alignas(64) Operand copy_[kMaxSteps][kRows * kDepth];
};

// A panel's results for up to 16 rows: NV tiles in registers.
template <class Dot, int NV>
class TileResults {
 public:
  using V = typename Dot::Vec;

  TileResults(const GemmArgs<Dot>& g, int64_t rows) : g_(g), rows_(rows) {
    in_place_ = g.init != Init::kScale && EvenlySpaced(g.c, rows, Dot::kMatrixRows, &bytes_);
    Start();
  }

  void Store() {
    if (in_place_) return ForEachTile<kStore>(g_.c[0] + g_.column, bytes_);
    ForEachTile<kStore>(copy_, kFloats * sizeof(float));
    for (int64_t r = 0; r < rows_; ++r) {
      float* c = g_.c[r] + g_.column;
      for (int v = 0; v < kFloats; v += V::kLanes) {
        auto x = V::Load(copy_ + r * kFloats + v);
        if (g_.init == Init::kScale) x = V::Fma(V::Load(c + v), V::Set1(g_.factor[r]), x);
        V::Store(c + v, x);
      }
    }
  }

 private:
  static constexpr int kFloats = NV * V::kLanes;
  enum Action { kZero, kLoad, kStore };

  void Start() {
    if (g_.init != Init::kLoad) return ForEachTile<kZero>(nullptr, 0);
    if (in_place_) return ForEachTile<kLoad>(g_.c[0] + g_.column, bytes_);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int v = 0; v < kFloats; v += V::kLanes)
        V::Store(copy_ + r * kFloats + v, V::Load(g_.c[r] + g_.column + v));
    }
    ForEachTile<kLoad>(copy_, kFloats * sizeof(float));
  }

  template <Action kAction, int kTile = 0>
  static void ForEachTile(float* p, int64_t bytes) {
    if constexpr (kAction == kZero) Dot::template ZeroTile<kTile>();
    if constexpr (kAction == kLoad) Dot::template LoadTile<kTile>(p + kTile * V::kLanes, bytes);
    if constexpr (kAction == kStore) Dot::template StoreTile<kTile>(p + kTile * V::kLanes, bytes);
    if constexpr (kTile + 1 < NV) ForEachTile<kAction, kTile + 1>(p, bytes);
  }

  const GemmArgs<Dot>& g_;
  const int64_t rows_;
  bool in_place_;
  int64_t bytes_ = 0;
  alignas(64) float copy_[Dot::kMatrixRows * kFloats];
};

// Adds the tiles of one step: A's is tile 4, B's take turns in the rest.
template <class Dot, int NV, int kTile = 0>
[[gnu::always_inline]] inline void MultiplyStep(const typename Dot::Operand* b, int64_t bytes) {
  constexpr int kB = 5 + kTile % 3;
  Dot::template LoadTile<kB>(b + kTile * Dot::Vec::kLanes * Dot::kPair, bytes);
  Dot::template MulAddTiles<kTile, 4, kB>();
  if constexpr (kTile + 1 < NV) MultiplyStep<Dot, NV, kTile + 1>(b, bytes);
}

template <class Dot, int NV>
inline void MultiplyTiles(const GemmArgs<Dot>& g, TileRows<Dot>& a, int64_t rows) {
  constexpr int64_t kVector = Dot::Vec::kLanes * Dot::kPair, kSteps = Dot::kMatrixDepth / Dot::kPair;
  TileResults<Dot, NV> results(g, rows);
  const int64_t whole = g.depth / kSteps, bytes = g.b_step * static_cast<int64_t>(sizeof(*g.b));
  for (int64_t step = 0; step < whole; ++step) {
    a.template Load<4>(step);
    MultiplyStep<Dot, NV>(g.b + step * kSteps * g.b_step, bytes);
  }
  if (whole * kSteps < g.depth) {  // what B has of the last step, and zeros
    alignas(64) typename Dot::Operand last[kSteps * NV * kVector] = {};
    for (int64_t k = whole * kSteps, i = 0; k < g.depth; ++k, ++i)
      std::memcpy(last + i * NV * kVector, g.b + k * g.b_step, NV * kVector * sizeof(*g.b));
    a.template Load<4>(whole);
    MultiplyStep<Dot, NV>(last, NV * kVector * sizeof(*g.b));
  }
  results.Store();
}

template <class Dot, int NV = Dot::Vec::kTileVectors>
inline void MultiplyPanel(int64_t vectors, const GemmArgs<Dot>& g, TileRows<Dot>& a, int64_t rows) {
  if constexpr (NV > 1) {
    if (vectors < NV) return MultiplyPanel<Dot, NV - 1>(vectors, g, a, rows);
  }
  MultiplyTiles<Dot, NV>(g, a, rows);
}

// Rows outermost: a copy of A's serves all panels, and B stays in the nearest caches.
template <class Dot>
inline void GemmByTiles(int64_t rows, const typename Dot::Operand* const* a, int64_t a_step,
                        const PackedB<Dot>& b, const PartOfB& part, float* const* c, Init init,
                        const float* factor) {
  GemmArgs<Dot> g{
      a, part.first_step * a_step, a_step, nullptr, 0, part.end_step - part.first_step, c, 0, init, factor};
  for (; rows > 0; rows -= Dot::kMatrixRows) {
    const int64_t take = Min(rows, Dot::kMatrixRows);
    TileRows<Dot> tile_rows(g, take);
    for (int64_t v = part.first_vector; v < part.end_vector;) {
      const Panel<Dot> panel = PanelAt(b, part, v);
      v = panel.end;
      g.b = panel.first;
      g.b_step = panel.step;
      g.column = panel.vector * Dot::Vec::kLanes;
      MultiplyPanel<Dot>(panel.end - panel.vector, g, tile_rows, take);
    }
    g.a += Dot::kMatrixRows;
    g.c += Dot::kMatrixRows;
    if (factor != nullptr) g.factor += Dot::kMatrixRows;
  }
}

}  // namespace
}  // namespace ms_nsa
