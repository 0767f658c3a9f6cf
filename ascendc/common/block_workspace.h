// SPDX-License-Identifier: Apache-2.0
// Workspace of the block-outer forward. Buffers that outlive a segment exist twice: while the results of one
// segment are combined, the index and results of the next are written. A unit is one kv head and one select
// block of the segment's sequence. An entry is one token of the segment and one of its slots.
#pragma once

#include "attention_workspace.h"

namespace ms_nsa {

// The AIC multiplies weights by values this many tiles after the scores: the AIVs need that long.
constexpr int32_t kPreload = 2;
constexpr int32_t kRing = kPreload + 1;    // tiles in flight
constexpr int32_t kTileRows = 64;          // query rows of a tile: enough to keep loads of L0B off the bound
constexpr int32_t kTileTokens = 64;        // with one query head
constexpr int32_t kSegmentEntries = 8192;  // of one kv head, slots rounded up to 8
constexpr int32_t kMaskWords = kSegmentEntries / 64;
constexpr int32_t kMaxEntryFloats = 4096;  // group * d2: larger ones do not pay in this schedule
constexpr int32_t kLaneFloats = 8;         // a row statistic is stored eight times

MS_NSA_FN int32_t SlotStride(const AttentionParams& p) {
  return RoundUp(p.select_block_count, 8);
}

// An even number, so that each AIV gets half and no more than kTileRows / 2 rows.
MS_NSA_FN int32_t TokensOfTile(const AttentionParams& p) {
  return kTileRows / 2 / p.group * 2;
}

// Tiles whose rows the AIVs fetch ahead, one more than the AIC works on.
constexpr int32_t kFetched = kPreload + 2;

// Elements from row to row of fetched ones: short rows side by side, longer ones on the 512-byte grid.
MS_NSA_FN int32_t RowStride(int32_t width) {
  return width <= 128 ? width : RoundUp(width, 256);
}

MS_NSA_FN int64_t FetchedBytes(int32_t width) {
  return int64_t{kFetched} * kTileRows * RowStride(width) * 2;
}

struct BlockArea {  // of segments with this parity; the cores' part serves both
  int64_t masks;    // uint64 [units][kMaskWords], bit token * SlotStride + slot: this slot selects this block
  int64_t counts;   // int32 [units][8], the first of each: bits in the mask
  int64_t sums;     // float [entries][group][d2], entry (token * kv_heads + head) * select_block_count + slot
  int64_t stats;    // float [entries][2][group][8], maximum and sum of the entry's rows
  int64_t cores;  // per core: float scores [kRing][kTileRows][bs], 16-bit weights of the same shape, queries
                  // [kFetched][kTileRows][RowStride]
  int64_t core_bytes;
};

MS_NSA_FN BlockArea BlockAreaOf(const AttentionParams& p, int64_t parity) {
  const int64_t units = p.kv_heads * p.max_blocks;
  const int64_t entries = int64_t{p.segment_tokens} * p.kv_heads * p.select_block_count;
  const int64_t tile = int64_t{kRing} * kTileRows * p.select_block_size;
  BlockArea area{};
  area.counts = RoundUp<int64_t>(units * kMaskWords * 8, kGmAlign);
  area.sums = area.counts + RoundUp<int64_t>(units * 32, kGmAlign);
  area.stats = area.sums + RoundUp<int64_t>(entries * p.group * p.d2 * 4, kGmAlign);
  const int64_t bytes = area.stats + RoundUp<int64_t>(entries * 2 * p.group * kLaneFloats * 4, kGmAlign);
  area.masks += parity * bytes;
  area.counts += parity * bytes;
  area.sums += parity * bytes;
  area.stats += parity * bytes;
  area.cores = 2 * bytes;
  area.core_bytes = RoundUp<int64_t>(tile * 6, kGmAlign) + FetchedBytes(p.d1);
  return area;
}

}  // namespace ms_nsa
