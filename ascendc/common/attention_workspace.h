// SPDX-License-Identifier: Apache-2.0
// Workspace of the token-outer attention kernels: one area per AIC with its two AIVs. They exchange scores
// and weights through GM, the only memory that they share. Scores and weights have two slots each, for two
// steps in flight.
#pragma once

#include "attention_params.h"
#include "integers.h"

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
  int64_t products;  // float [kSlots][group][d2], weights times value of one step
  int64_t
      partials;  // float [kVectorCores][kMaxRows * d2 + 2 * kStatRows]: a part's sum, then its max and sum
  int64_t bytes;
};

MS_NSA_FN int64_t PartialFloats(const AttentionParams& p) {
  return int64_t{kMaxRows} * p.d2 + 2 * kStatRows;
}

MS_NSA_FN CoreArea AreaOf(const AttentionParams& p) {
  const int64_t scores = int64_t{p.group} * p.chunk_rows;
  CoreArea area{};
  area.weights = RoundUp<int64_t>(kSlots * scores * 4, kGmAlign);
  area.products = area.weights + RoundUp<int64_t>(kSlots * scores * 2, kGmAlign);
  area.partials = area.products + RoundUp<int64_t>(kSlots * int64_t{p.group} * p.d2 * 4, kGmAlign);
  area.bytes = area.partials + RoundUp<int64_t>(kVectorCores * PartialFloats(p) * 4, kGmAlign);
  return area;
}

}  // namespace ms_nsa
