// SPDX-License-Identifier: Apache-2.0
// Data that the cores of the block-outer forward exchange through GM.
#pragma once

#include "kernel_operator.h"
#include "tile_walk.h"

namespace ms_nsa {

template <class T>
struct BlockExchange {
  AscendC::GlobalTensor<float> scores;  // of this core, one tile a slot
  AscendC::GlobalTensor<T> weights;     // likewise
  AscendC::GlobalTensor<T> queries;     // likewise
  AscendC::GlobalTensor<float> sums;    // of all cores, by entry
  AscendC::GlobalTensor<float> stats;

  __aicore__ inline BlockExchange(const AttentionParams& params, GM_ADDR workspace, int64_t core,
                                  int64_t parity) {
    const BlockArea area = BlockAreaOf(params, parity);
    const int64_t tile = int64_t{kTileRows} * params.select_block_size;
    GM_ADDR own = workspace + area.cores + core * area.core_bytes;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own));
    weights.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + kRing * tile * 4));
    queries.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + area.core_bytes - FetchedBytes(params.d1)));
    sums.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.sums));
    stats.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.stats));
  }
};

// Where the results of a slot lie in sums and stats, counted in entries.
__aicore__ inline int64_t EntryOf(const AttentionParams& p, int64_t token, int32_t head, int32_t slot) {
  return (token * p.kv_heads + head) * p.select_block_count + slot;
}

__aicore__ inline int64_t EntryOf(const AttentionParams& p, const Tile& tile, int32_t number) {
  const int32_t entry = tile.entries[number], stride = SlotStride(p);
  return EntryOf(p, entry / stride, tile.head, entry % stride);
}

}  // namespace ms_nsa
