// SPDX-License-Identifier: Apache-2.0
// UB and workspace of the dense schedule. The AIC makes scores two steps before it multiplies their weights
// by values, so that it need not wait while the AIVs finish a tile.
#pragma once

#include "block_workspace.h"
#include "choice_limits.h"
#include "dense_params.h"

namespace ms_nsa {

constexpr int32_t kDenseStep = 128;  // key rows of a step
constexpr int32_t kMostPart = 128;   // select blocks that a step's windows share rows with
constexpr int32_t kPiece = 2048;     // floats that are loaded into UB, or rounded in it, in one go
constexpr int32_t kHalfRows = 32;    // query rows of an AIV
constexpr int32_t kUbTotal = 184 * 1024;
constexpr int32_t kSortBlocks = 1024;  // of a row that are sorted together

// UB, in bytes from the start of either half.
struct DenseUb {
  int32_t pieces, tops, queries, in_bytes;
  int32_t results, lanes, chosen, fold, spread, stats, order, sum, importance, out_bytes;
  int32_t importance_floats;
};

constexpr int32_t kDenseStats = 16;  // vectors of kStatRows

MS_NSA_FN DenseUb DenseUbOf(const DenseParams& params) {
  const AttentionParams& p = params.attention;
  DenseUb ub{};
  ub.pieces = kSlots * kHalfRows * kDenseStep * 4;  // behind the scores
  ub.tops = ub.pieces + kSlots * kPiece * 4;
  ub.queries = ub.tops + kSlots * kStatRows * 4;
  ub.in_bytes = ub.queries + kHalfRows * p.d1 * 2;
  ub.results = kSlots * kHalfRows * kDenseStep * 2;  // behind the weights
  ub.lanes = ub.results + kSlots * kPiece * 2;
  ub.chosen = ub.lanes + 2 * kHalfRows * kLaneFloats * 4;
  ub.fold = ub.chosen + kSlots * kMostChosen * 4;
  ub.spread = ub.fold + kStatRows * 64 * 4;
  ub.stats = ub.spread + kStatRows * kLaneFloats * 4;
  ub.order = ub.stats + kDenseStats * kStatRows * 4;
  ub.sum = ub.order + (params.step_blocks > 0 ? kSortBlocks * 4 : 0);
  ub.importance = ub.sum + kHalfRows * p.d2 * 4;
  ub.out_bytes = params.step_blocks > 0 ? kUbTotal - ub.in_bytes : ub.importance;
  ub.importance_floats = (ub.out_bytes - ub.importance) / 4;
  return ub;
}

// L1: two slots of queries, the table of overlaps, and slots of a step's key, value and weights. One slot
// more than steps in flight, where there is room, so that loads wait for no product.
struct DenseL1 {
  int32_t overlap, steps, step_bytes, slots;
};

constexpr int32_t kDenseRows = 64;  // query rows of a tile at most
constexpr int32_t kMostSlots = kRing + 1;

MS_NSA_FN DenseL1 DenseL1Of(const DenseParams& params) {
  const AttentionParams& p = params.attention;
  DenseL1 l1{};
  l1.overlap = kSlots * kDenseRows * p.d1 * 2;
  l1.steps = l1.overlap + params.part_blocks * p.chunk_rows * 2;
  l1.step_bytes = p.chunk_rows * (p.d1 + p.d2 + kDenseRows) * 2;
  l1.slots = Min((kL1Bytes - l1.steps) / l1.step_bytes, kMostSlots);
  return l1;
}

// Of a core, bytes from the start of its area.
struct DenseArea {
  int64_t scores;    // float [kRing][kDenseRows][chunk_rows]
  int64_t weights;   // 16 bit, likewise
  int64_t products;  // float [kRing][kDenseRows][d2]
  int64_t queries;   // 16 bit [kFetched][kDenseRows][RowStride(d1)]
  int64_t parts;     // float [PartSlots][kDenseRows][part_blocks]: importance as one step sees it
  int64_t tops;      // float [PartSlots][kVectorCores][kStatRows]: the running maxima that those go by
  int64_t overlap;   // 16 bit [part_blocks][chunk_rows]: 16th of the rows that a window shares with a block
  int64_t again;     // int64 [kVectorCores][1 + tiles]: how many tiles are to be made anew, and which
  int64_t bytes;
};

// Steps whose parts are kept: those of a tile, and those that the AIC makes before the tile is finished.
MS_NSA_FN int64_t PartSlots(const DenseParams& params) {
  return params.step_blocks > 0 ? params.most_steps + kRing : 0;
}

MS_NSA_FN int64_t AgainInts(const DenseParams& params) {
  return RoundUp<int64_t>(1 + params.tiles, 8);
}

MS_NSA_FN DenseArea DenseAreaOf(const DenseParams& params) {
  const AttentionParams& p = params.attention;
  const int64_t scores = int64_t{kRing} * kDenseRows * p.chunk_rows, slots = PartSlots(params);
  DenseArea area{};
  area.weights = RoundUp<int64_t>(scores * 4, kGmAlign);
  area.products = area.weights + RoundUp<int64_t>(scores * 2, kGmAlign);
  area.queries = area.products + RoundUp<int64_t>(int64_t{kRing} * kDenseRows * p.d2 * 4, kGmAlign);
  area.parts =
      area.queries + RoundUp<int64_t>(int64_t{kFetched} * kDenseRows * RowStride(p.d1) * 2, kGmAlign);
  area.tops = area.parts + RoundUp<int64_t>(slots * kDenseRows * params.part_blocks * 4, kGmAlign);
  area.overlap = area.tops + RoundUp<int64_t>(slots * kVectorCores * kStatRows * 4, kGmAlign);
  area.again = area.overlap + RoundUp<int64_t>(int64_t{params.part_blocks} * p.chunk_rows * 2, kGmAlign);
  area.bytes = area.again + RoundUp<int64_t>(kVectorCores * AgainInts(params) * 8, kGmAlign);
  return area;
}

}  // namespace ms_nsa
