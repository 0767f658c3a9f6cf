// SPDX-License-Identifier: Apache-2.0
// The loops over a core's tiles, one for the AIC and one for its AIVs. Two flags per tile synchronize them.
#pragma once

#include "exchange.h"
#include "tile_walk.h"

namespace ms_nsa {

// Tile t is begun, then tile t - kPreload finished: Worker gives Begin(tile) and Finish(tile, the next one or
// null).
template <class Tiles, class Worker>
__aicore__ inline void BeginAndFinish(Tiles& tiles, Worker& worker) {
  Tile ring[kRing];
  int64_t count = 0, done = 0;
  while (tiles.Next(ring[count % kRing])) {
    if (ring[count % kRing].tokens == 0) continue;
    worker.Begin(ring[count++ % kRing]);
    if (count <= kPreload) continue;
    worker.Finish(ring[done % kRing], &ring[(done + 1) % kRing]);
    ++done;
  }
  for (; done < count; ++done) {
    worker.Finish(ring[done % kRing], done + 1 < count ? &ring[(done + 1) % kRing] : nullptr);
  }
}

// This AIV's half of a tile's tokens.
struct Share {
  int32_t first, tokens;
};

__aicore__ inline Share ShareOf(const Tile& tile) {
  const int32_t half = CeilDiv(tile.tokens, kVectorCores);
  return AscendC::GetSubBlockIdx() == 0 ? Share{0, half} : Share{half, tile.tokens - half};
}

// How many of the tile's entries from `first` on, at most `most`, belong to consecutive tokens: what belongs
// to these is one copy.
__aicore__ inline int32_t NeighboursOf(const AttentionParams& params, const Tile& tile, int32_t first,
                                       int32_t most) {
  const int32_t token = tile.entries[first] / SlotStride(params);
  int32_t count = 1;
  while (count < most && tile.entries[first + count] / SlotStride(params) == token + count) ++count;
  return count;
}

// The next tile that has tokens; Worker sees to the others.
template <class Tiles, class Worker>
__aicore__ inline bool NextWithTokens(Tiles& tiles, Worker& worker, Tile& tile) {
  while (tiles.Next(tile)) {
    if (tile.tokens > 0) return true;
    worker.Skip(tile);
  }
  return false;
}

// Worker gives Begin(), for when the first tiles are fetched, Load(tile), Weigh(tile) and Skip(tile), and
// Fetch(tile) and Send(tile) for the tile that lies kAhead, also its, further on. Spreads the `other` work
// evenly over the tiles, each share after the tile's weights are sent: the AIC does not wait for it.
template <class Tiles, class Worker, class Other>
__aicore__ inline void WeighTiles(Tiles& tiles, Worker& worker, Other& other) {
  constexpr int32_t kAhead = Worker::kAhead, kTiles = kAhead + 1;
  const int64_t about = Max<int64_t>(tiles.AboutTiles(), 1);
  Tile ring[kTiles];
  int64_t stepped = 0, known = 0;
  for (; known < kAhead && NextWithTokens(tiles, worker, ring[known]); ++known) {
    worker.Fetch(ring[known]);
    worker.Send(ring[known]);
  }
  worker.Begin();
  const int64_t steps = other.Steps();
  for (int64_t number = 0;; ++number) {
    Tile& ahead = ring[(number + kAhead) % kTiles];
    const bool more = number + kAhead == known && NextWithTokens(tiles, worker, ahead);
    if (more) ++known;
    if (number == known) break;
    const Tile& tile = ring[number % kTiles];
    AscendC::CrossCoreWaitFlag(kScoresReady);
    worker.Load(tile);
    if (more) worker.Fetch(ahead);
    worker.Weigh(tile);
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
    if (more) worker.Send(ahead);
    for (; stepped * about < (number + 1) * steps; ++stepped) other.Step();
  }
}

}  // namespace ms_nsa
