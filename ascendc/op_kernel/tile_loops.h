// The loops over a core's tiles, one for the AIC and one for its AIVs, which meet by two flags a tile.
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

// Each AIV takes half of a tile's tokens: Worker gives Load(tile, first token, tokens), Weigh(the same) and
// Skip(tile). Goes on with `other` work between tiles, evenly; its loads are queued behind those of the tile,
// so that the AIC does not wait for them.
template <class Tiles, class Worker, class Other>
__aicore__ inline void WeighTiles(Tiles& tiles, Worker& worker, Other& other) {
  const int64_t steps = other.Steps(), about = Max<int64_t>(tiles.AboutTiles(), 1);
  const int32_t sub = AscendC::GetSubBlockIdx();
  int64_t stepped = 0;
  Tile tile;
  while (tiles.Next(tile)) {
    if (tile.tokens == 0) {
      worker.Skip(tile);
      continue;
    }
    AscendC::CrossCoreWaitFlag(kScoresReady);
    const int32_t half = CeilDiv(tile.tokens, kVectorCores);
    const int32_t first = sub * half, tokens = sub == 0 ? half : tile.tokens - half;
    if (tokens > 0) worker.Load(tile, first, tokens);
    for (; stepped * about < (tile.ordinal + 1) * steps; ++stepped) other.Step();
    if (tokens > 0) worker.Weigh(tile, first, tokens);
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
  }
}

}  // namespace ms_nsa
