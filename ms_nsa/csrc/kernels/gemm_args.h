// SPDX-License-Identifier: Apache-2.0
// What a matrix product gets: A's rows, the packed B, and C's rows.
#pragma once

#include <cstdint>

#include "buffer.h"

namespace ms_nsa {
namespace {

// What the product is added to: zero, C, or C times the row's factor. The last is added when the product is
// done: a row of C that is late would hold the whole tile up (1 % of the forward).
enum class Init { kZero, kLoad, kScale };

// Panels of up to kTileVectors vectors; in a panel, depth steps of (vectors * kLanes) columns of kPair
// elements.
template <class Dot>
struct PackedB {
  const typename Dot::Operand* data;
  int64_t depth;  // steps of kPair elements
  int64_t vectors;
};

template <class Dot>
constexpr int64_t PackedSize(int64_t depth_elements, int64_t columns) {
  return RoundUp(depth_elements, Dot::kPair) * RoundUp(columns, Dot::Vec::kLanes);
}

template <class Dot>
struct GemmArgs {
  const typename Dot::Operand* const* a;  // per row: its first depth step
  int64_t a_first;                        // elements to the first step of the product
  int64_t a_step;                         // elements from one depth step to the next
  const typename Dot::Operand* b;         // the panel's first step of the product
  int64_t b_step;                         // its elements from one depth step to the next
  int64_t depth;                          // of the product
  float* const* c;                        // per row: its column 0
  int64_t column;                         // of the panel
  Init init;
  const float* factor;  // per row, for kScale
};

// What of B a product uses: depth steps [first_step, end_step) of vectors [first_vector, end_vector).
struct PartOfB {
  int64_t first_step, end_step, first_vector, end_vector;
};

// Vectors [vector, end) of one panel, and where its depth steps lie.
template <class Dot>
struct Panel {
  int64_t vector, end, step;
  const typename Dot::Operand* first;
};

template <class Dot>
inline Panel<Dot> PanelAt(const PackedB<Dot>& b, const PartOfB& part, int64_t v) {
  using V = typename Dot::Vec;
  constexpr int64_t kVector = V::kLanes * Dot::kPair;
  const int64_t panel = v / V::kTileVectors * V::kTileVectors;
  const int64_t step = Min(V::kTileVectors, b.vectors - panel) * kVector;
  const auto* first = b.data + panel * kVector * b.depth + part.first_step * step + (v - panel) * kVector;
  return {v, Min(panel + V::kTileVectors, part.end_vector), step, first};
}

}  // namespace
}  // namespace ms_nsa
