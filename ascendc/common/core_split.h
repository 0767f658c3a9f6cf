// SPDX-License-Identifier: Apache-2.0
// Splits units of work with known costs over cores, also inside a unit. The costs laid end to end form a
// line. Core c owns [c, c + 1) / cores of it. The cuts are rounded to pieces of the unit in which they are.
#pragma once

#include "integers.h"

namespace ms_nsa {

// Costs count kv rows. The fixed cost of a unit (its first loads, its handshakes, its result) is about that
// of loading kUnitRows rows.
constexpr int64_t kUnitRows = 48;

struct Unit {
  int64_t start;   // on the line of costs
  int64_t cost;    // > 0
  int64_t pieces;  // >= 1
};

MS_NSA_FN Unit MakeUnit(int64_t start, int64_t rows, int64_t piece_rows) {
  return {start, rows > 0 ? rows + kUnitRows : 1, Max<int64_t>((rows + piece_rows / 2) / piece_rows, 1)};
}

MS_NSA_FN int64_t Quota(int64_t total, int64_t core, int64_t cores) {
  return total * core / cores;
}

// The piece that starts nearest to a position on the line: 0 .. pieces.
MS_NSA_FN int64_t PieceAt(int64_t position, const Unit& unit) {
  const int64_t offset = Min(Max<int64_t>(position - unit.start, 0), unit.cost);
  return (2 * offset * unit.pieces + unit.cost) / (2 * unit.cost);
}

// First row of a piece when the unit turns out to have `rows` rows: a multiple of piece_rows, or the end.
MS_NSA_FN int64_t PieceRow(int64_t rows, int64_t piece, const Unit& unit, int64_t piece_rows) {
  if (piece >= unit.pieces) return rows;
  return Min(rows, RoundDown(rows * piece / unit.pieces + piece_rows / 2, piece_rows));
}

}  // namespace ms_nsa
