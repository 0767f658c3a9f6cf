// The rows of a tile's tokens, from a tensor [tokens, heads, width] into L1.
#pragma once

#include "block_index.h"
#include "cube_tiles.h"

namespace ms_nsa {

// A copy of few rows takes nearly as long as one of many, so that tokens side by side share one.
template <class T>
__aicore__ inline void LoadTokens(const AscendC::LocalTensor<T>& to, const AscendC::GlobalTensor<T>& from,
                                  const AttentionParams& p, int64_t token, int32_t tokens, int32_t head,
                                  int32_t width, int32_t tile_rows) {
  const int64_t stride = int64_t{p.kv_heads} * p.group * width;
  const AscendC::GlobalTensor<T> first = from[token * stride + int64_t{head} * p.group * width];
  constexpr int64_t kMaxStride = 65535;  // the field has 16 bits
  if (stride > kMaxStride || tokens == 1) {
    for (int32_t i = 0; i < tokens; ++i) {
      LoadRows(to[i * p.group * kCube], first[i * stride], p.group, width, width, tile_rows);
    }
    return;
  }
  AscendC::Nd2NzParams copy;
  copy.ndNum = tokens;
  copy.nValue = p.group;
  copy.dValue = width;
  copy.srcNdMatrixStride = stride;
  copy.srcDValue = width;
  copy.dstNzC0Stride = tile_rows;
  copy.dstNzNStride = 1;
  copy.dstNzMatrixStride = p.group * kCube;
  AscendC::DataCopy(to, first, copy);
}

// Of the tile's tokens from `i` on, how many follow each other.
__aicore__ inline int32_t RunOf(const AttentionParams& p, const Tile& tile, int32_t i) {
  const int32_t stride = SlotStride(p), token = tile.entries[i] / stride;
  int32_t run = 1;
  while (i + run < tile.tokens && tile.entries[i + run] / stride == token + run) ++run;
  return run;
}

}  // namespace ms_nsa
