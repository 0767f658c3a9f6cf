// SPDX-License-Identifier: Apache-2.0
// The rows of a unit in pieces, which follow from the unit alone. Each piece has a maximum and a sum of its
// own; those of a bundle of pieces are brought to one maximum and added in a fixed order, and so are bundles.
// Work is cut between pieces only, so that no bit depends on the cores.
#pragma once

#include "attention_params.h"
#include "integers.h"

namespace ms_nsa {

constexpr int32_t kPieceRows = 128;
constexpr int32_t kBundlePieces = 8;

// A step holds two pieces, or one where it is short.
constexpr int32_t kStepPieces = 2;

MS_NSA_FN int32_t PieceRows(const AttentionParams& p) {
  return p.chunk_rows == kStepPieces * kPieceRows ? kPieceRows : p.chunk_rows;
}

MS_NSA_FN int64_t BundleRows(const AttentionParams& p) {
  return int64_t{kBundlePieces} * PieceRows(p);
}

struct RowRange {
  int64_t first, end;
};

// Rows of a bundle of a unit with `rows` rows.
MS_NSA_FN RowRange RowsOfBundle(const AttentionParams& p, int64_t bundle, int64_t rows) {
  const int64_t size = BundleRows(p);
  return {bundle * size, Min((bundle + 1) * size, rows)};
}

MS_NSA_FN bool Holds(const RowRange& outer, const RowRange& inner) {
  return outer.first <= inner.first && inner.end <= outer.end;
}

// A core keeps products of the pieces of four bundles: two that it has wholly, in turn, and two that others
// have a share in: one that a core before began, one that it begins itself.
constexpr int32_t kShared = 2, kProductSlots = 4;

// first_row: of the core's part of the unit.
MS_NSA_FN int32_t SharedSlot(const AttentionParams& p, int64_t bundle, int64_t first_row) {
  return kShared + (first_row > bundle * BundleRows(p) ? 0 : 1);
}

}  // namespace ms_nsa
