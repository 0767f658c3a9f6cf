// SPDX-License-Identifier: Apache-2.0
// Workspace of the token-outer attention kernels: one area per AIC with its two AIVs. They exchange scores,
// weights and products through GM, the only memory that they share. Scores and weights have two slots each,
// for two steps in flight.
#pragma once

#include "attention_params.h"
#include "integers.h"
#include "row_pieces.h"

namespace ms_nsa {

constexpr int32_t kSlots = 2;
constexpr int32_t kVectorCores = 2;  // AIVs beside an AIC
constexpr int32_t kMaxGroup = 32;
constexpr int32_t kMaxRows = kMaxGroup / kVectorCores;  // query heads of one AIV
constexpr int32_t kStatRows = 32;   // a row statistic is a dense vector of this many floats
constexpr int32_t kMaxWidth = 256;  // of query, key and value
constexpr int32_t kMaxChunk = 256;  // kv rows of a step
constexpr int64_t kGmAlign = 512;
constexpr int32_t kL1Bytes = 524288 - 256;  // a mix kernel may not have the last 256

// Byte offsets inside the area of a core.
struct CoreArea {
  int64_t scores;    // float [kSlots][group][chunk_rows]
  int64_t weights;   // 16 bit [kSlots][group][chunk_rows]
  int64_t products;  // float [kProductSlots][kBundlePieces][group][d2], weights times value of a piece
  int64_t shared;    // float [2][kVectorCores][2][kPieceStats]: max and sum of the pieces of shared bundles
  int64_t bundles;   // float [bundles][kVectorCores][BundleFloats]: of whole ones in a unit that begins
                     // elsewhere max, sum and sum of products
  int64_t bytes;
};

constexpr int32_t kPieceStats = kBundlePieces * kMaxRows;

MS_NSA_FN int64_t BundleFloats(const AttentionParams& p) {
  return int64_t{CeilDiv(p.group, kVectorCores)} * p.d2 + 2 * kStatRows;
}

MS_NSA_FN CoreArea AreaOf(const AttentionParams& p) {
  const int64_t scores = int64_t{p.group} * p.chunk_rows;
  CoreArea area{};
  area.weights = RoundUp<int64_t>(kSlots * scores * 4, kGmAlign);
  area.products = area.weights + RoundUp<int64_t>(kSlots * scores * 2, kGmAlign);
  area.shared = area.products + int64_t{kProductSlots} * kBundlePieces * p.group * p.d2 * 4;
  area.bundles = area.shared + 2 * kVectorCores * 2 * kPieceStats * 4;
  area.bytes = area.bundles + RoundUp<int64_t>(p.bundles * kVectorCores * BundleFloats(p) * 4, kGmAlign);
  return area;
}

}  // namespace ms_nsa
