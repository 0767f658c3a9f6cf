// SPDX-License-Identifier: Apache-2.0
// Workspace of the gradient, by segments as in block_workspace.h: buffers that outlive a segment exist
// twice.
#pragma once

#include "tile_walk.h"

namespace ms_nsa {

// The gradients of a strip's keys and values grow in L0C over the tiles of a piece; the rest of L0C passes
// products on, a tile of kTileRows by kColumns at a time.
constexpr int32_t kL0cTotal = 131072;
constexpr int32_t kColumns = 64;
constexpr int32_t kPasses = 3;
constexpr int32_t kPassBytes = kTileRows * kColumns * 4;
constexpr int32_t kGrowing = (kL0cTotal - kPasses * kPassBytes) / 4;  // floats
constexpr int32_t kL1Slots =
    kPreload + 2;  // one more than tiles in flight, so that loads wait for none of them

MS_NSA_FN int32_t StripsOf(const AttentionParams& p) {
  const int32_t most = Min(RoundDown(kGrowing / (p.d1 + p.d2), 16), kColumns);
  return CeilDiv(p.select_block_size, most);
}

MS_NSA_FN TileCut GradCut(const AttentionParams& p) {
  const int32_t strips = StripsOf(p);
  return {RoundUp(CeilDiv(p.select_block_size, strips), 16), strips, p.piece_tiles, true};
}

// Pieces that a segment may have: each begins a strip that somebody selects, or follows a full one.
MS_NSA_FN int64_t MostPieces(const AttentionParams& p) {
  const int64_t entries = int64_t{p.segment_tokens} * p.kv_heads * p.select_block_count;
  const int64_t blocks = Min(p.kv_heads * p.max_blocks, entries);
  return StripsOf(p) * (blocks + entries / (TokensOfTile(p) * p.piece_tiles));
}

MS_NSA_FN bool HasStatisticsGrad(const AttentionParams& p) {
  return p.has_max_grad || p.has_sum_grad;
}

struct GradArea {    // of segments with this parity; what is of earlier segments and of the cores serves all
  int64_t masks;     // as in BlockArea
  int64_t counts;    // likewise, but kept one segment longer
  int64_t deltas;    // float [tokens][heads][8], grad times attention_out of each row
  int64_t tops;      // [tokens][heads][kTopFloats], if a statistic has a gradient: see statistics_grad.h
  int64_t sums;      // float [entries][strips][group][d1] in the rule's order, query gradients
  int64_t pieces;    // float [MostPieces][strip_rows][d1], then [strip_rows][d2], key and value gradients
  int64_t key_sums;  // float [kv_heads][kv_rows][d1], from earlier segments of a sequence
  int64_t value_sums;  // likewise [d2]
  int64_t cores;       // per core: float scores and weight gradients, 16-bit weights and score gradients,
                       // each [kRing][kTileRows][strip_rows]; fetched rows, [kFetched][kTileRows][RowStride]
  int64_t core_bytes;
  int64_t used;  // of the first core, the others core_bytes apart: float [kVectorCores][8], not 0 where that
                 // AIV put something into tops
};

constexpr int32_t kKeptCounts = 3;  // segments
constexpr int32_t kUsedBytes = kVectorCores * kLaneFloats * 4;
constexpr int32_t kTopFloats = 2;

MS_NSA_FN int64_t CarryRows(const AttentionParams& p) {
  return p.tokens > p.segment_tokens ? p.kv_heads * p.kv_rows : 0;
}

MS_NSA_FN GradArea GradAreaOf(const AttentionParams& p, int64_t number) {
  const int64_t units = p.kv_heads * p.max_blocks, rows = int64_t{p.segment_tokens} * p.kv_heads * p.group;
  const TileCut cut = GradCut(p);
  const int64_t sizes[] = {
      units * kMaskWords * 8,
      units * 32,
      rows * kLaneFloats * 4,
      HasStatisticsGrad(p) ? rows * kTopFloats * 4 : 0,
      rows * p.select_block_count * cut.strips * p.d1 * 4,
      MostPieces(p) * cut.strip_rows * (p.d1 + p.d2) * 4,
      CarryRows(p) * p.d1 * 4,
      CarryRows(p) * p.d2 * 4,
  };
  const int32_t copies[] = {2, kKeptCounts, 2, 2, 2, 2, 1, 1};
  GradArea area{};
  int64_t* places[] = {&area.masks, &area.counts, &area.deltas,   &area.tops,
                       &area.sums,  &area.pieces, &area.key_sums, &area.value_sums};
  int64_t at = 0;
  for (int32_t i = 0; i < 8; ++i) {
    const int64_t bytes = RoundUp<int64_t>(sizes[i], kGmAlign);
    *places[i] = at + number % copies[i] * bytes;
    at += copies[i] * bytes;
  }
  area.cores = at;
  area.core_bytes = RoundUp<int64_t>(int64_t{kRing} * kTileRows * cut.strip_rows * 12, kGmAlign) +
                    FetchedBytes(p.d1) + FetchedBytes(p.d2) + kGmAlign;
  area.used = area.cores + area.core_bytes - kGmAlign + number % 2 * kUsedBytes;
  return area;
}

}  // namespace ms_nsa
