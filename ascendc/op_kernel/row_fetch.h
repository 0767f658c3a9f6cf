// SPDX-License-Identifier: Apache-2.0
// The AIVs' rows of a tile's tokens on their way to the AIC: copies of few rows, at which its own copies into
// L1 are slow, go through UB; the AIC then takes a tile in one copy. Consecutive tokens are one copy here
// too.
#pragma once

#include "exchange.h"
#include "row_vector.h"
#include "tile_loops.h"
#include "unified_buffer.h"

namespace ms_nsa {

// Of kTensors tensors [tokens, heads, width].
template <class T, int32_t kTensors>
class RowFetch {
 public:
  struct Rows {
    AscendC::GlobalTensor<T> from, to;  // `to` [kFetched][kTileRows][RowStride(width)], of this core
    int32_t width;
  };

  // Has kBytes of the half for loads from offset `at` on.
  __aicore__ inline RowFetch(const AttentionParams& params, UnifiedBuffer& ub, int32_t at)
      : p_(params), ub_(ub), at_(at) {}

  __aicore__ inline Rows& operator[](int32_t number) { return rows_[number]; }

  __aicore__ inline void Open() {
    for (int32_t buffer = 0; buffer < 2; ++buffer) AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(buffer);
  }
  __aicore__ inline void Close() {
    for (int32_t buffer = 0; buffer < 2; ++buffer) AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(buffer);
  }

  __aicore__ inline void Fetch(const Segment& segment, const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    if (tokens == 0) return;
    const int32_t buffer = tile.ordinal % 2;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(buffer);
    for (int32_t i = 0, count = 0; i < tokens; i += count) {
      count = NeighboursOf(p_, tile, first + i, tokens - i);
      const int64_t token = segment.row + tile.entries[first + i] / SlotStride(p_);
      const int64_t row = (token * p_.kv_heads + tile.head) * p_.group;
      for (int32_t n = 0; n < kTensors; ++n) {
        const int32_t width = rows_[n].width, elements = p_.group * width;
        CopyPieces(InUb(buffer, n)[i * elements], rows_[n].from[row * width], count, elements,
                   int64_t{p_.kv_heads} * elements);
      }
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE3>(buffer);
  }

  __aicore__ inline void Send(const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    const int32_t buffer = tile.ordinal % 2;
    if (tokens > 0) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE3>(buffer);
      for (int32_t n = 0; n < kTensors; ++n) SendRows(tile, first, tokens, n);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(buffer);
    }
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kRowsReady);
  }

 private:
  static constexpr int32_t kElements = kTileRows / kVectorCores * kMaxWidth;

 public:
  static constexpr int32_t kBytes = 2 * kTensors * kElements * 2;

 private:
  __aicore__ inline AscendC::LocalTensor<T> InUb(int32_t buffer, int32_t number) {
    return ub_.In<T>(at_ + (buffer * kTensors + number) * kElements * 2, kElements);
  }

  __aicore__ inline void SendRows(const Tile& tile, int32_t first, int32_t tokens, int32_t number) {
    const int32_t width = rows_[number].width, stride = RowStride(width);
    const int64_t row = tile.ordinal % kFetched * kTileRows + first * p_.group;
    if (stride == width) {
      AscendC::DataCopy(rows_[number].to[row * stride], InUb(tile.ordinal % 2, number),
                        tokens * p_.group * width);
      return;
    }
    const uint32_t bytes = width * sizeof(T), gap = (stride - width) * sizeof(T);
    AscendC::DataCopyPad(rows_[number].to[row * stride], InUb(tile.ordinal % 2, number),
                         {static_cast<uint16_t>(tokens * p_.group), bytes, 0, gap, 0});
  }

  const AttentionParams& p_;
  UnifiedBuffer& ub_;
  int32_t at_;
  Rows rows_[kTensors];
};

}  // namespace ms_nsa
