// SPDX-License-Identifier: Apache-2.0
// Splits units of work with known costs over cores, also inside a unit. The costs laid end to end form a
// line. Core c owns [c, c + 1) / cores of it. The cuts are rounded to equal pieces of the unit in which they
// are.
#pragma once

#include "integers.h"

namespace ms_nsa {

// Costs count kv rows. The fixed cost of a unit (its first loads, its handshakes, its result) is about that
// of loading kUnitRows rows; a part below kPieceRows rows is not worth the merging of partial results.
constexpr int64_t kUnitRows = 48;
constexpr int64_t kPieceRows = 128;

struct Unit {
  int64_t start;   // on the line of costs
  int64_t cost;    // > 0
  int64_t pieces;  // >= 1
};

MS_NSA_FN Unit MakeUnit(int64_t start, int64_t rows) {
  return {start, rows > 0 ? rows + kUnitRows : 1, Max<int64_t>(rows / kPieceRows, 1)};
}

MS_NSA_FN int64_t Quota(int64_t total, int64_t core, int64_t cores) {
  return total * core / cores;
}

// The piece that starts nearest to a position on the line: 0 .. pieces.
MS_NSA_FN int64_t PieceAt(int64_t position, const Unit& unit) {
  const int64_t offset = Min(Max<int64_t>(position - unit.start, 0), unit.cost);
  return (2 * offset * unit.pieces + unit.cost) / (2 * unit.cost);
}

// First row of a piece when the unit turns out to have `rows` rows.
MS_NSA_FN int64_t PieceRow(int64_t rows, int64_t piece, const Unit& unit) {
  return piece >= unit.pieces ? rows : RoundDown<int64_t>(rows * piece / unit.pieces, 16);
}

}  // namespace ms_nsa
