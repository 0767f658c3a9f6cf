// SPDX-License-Identifier: Apache-2.0
// An AIV's part of a tile: which of its tokens, where their rows lie in GM, and which scores they have.
#pragma once

#include "dense_exchange.h"
#include "row_vector.h"

namespace ms_nsa {

struct DenseShare {
  int32_t first, tokens;  // of the tile
};

__aicore__ inline DenseShare ShareOf(const DenseTile& tile) {
  const int32_t half = CeilDiv(tile.tokens, kVectorCores);
  return AscendC::GetSubBlockIdx() == 0 ? DenseShare{0, half} : DenseShare{half, tile.tokens - half};
}

// Query row of query head 0 of the tile's kv head, for its token `number`.
__aicore__ inline int64_t QueryRow(const AttentionParams& p, const DenseTile& tile, int32_t number) {
  const int64_t token = tile.span.row + tile.index + number;
  return (token * p.kv_heads + tile.head) * p.group;
}

// Of columns [column, column + 64) of a step those that a token does not see, by bits.
__aicore__ inline uint64_t HiddenOf(const DenseParams& params, const DenseSource& source,
                                    const DenseStep& step, int64_t index, int32_t column) {
  const KeyRange seen = SeenBy(params, step.tile.span, index);
  const int64_t start = step.row + column;
  const int32_t first = Min<int64_t>(Max<int64_t>(seen.first - start, 0), kLanes);
  const int32_t end = Min<int64_t>(Max<int64_t>(seen.end - start, first), kLanes);
  constexpr uint64_t kAll = ~uint64_t{0};
  const uint64_t below_end = end == kLanes ? kAll : (uint64_t{1} << end) - 1;
  const uint64_t below_first = first == kLanes ? kAll : (uint64_t{1} << first) - 1;
  uint64_t hidden = ~(below_end & ~below_first);
  if (params.attention.atten_mask_cols == 0) return hidden;
  for (int32_t i = first; i < end; ++i) {
    if (source.Dropped(index, start + i)) hidden |= uint64_t{1} << i;
  }
  return hidden;
}

// Puts kNoScore where a token of the share has no score, whatever the cube made there; `scores` has `stride`
// floats a row.
__aicore__ inline void HideScores(const DenseParams& params, const DenseSource& source, const DenseStep& step,
                                  const DenseShare& share, const Floats& scores, int32_t stride) {
  const int32_t group = params.attention.group;
  const int64_t index = step.tile.index + share.first;
  for (int32_t column = 0; column < stride; column += kLanes) {
    int32_t begin = 0;
    uint64_t hidden = HiddenOf(params, source, step, index, column);
    for (int32_t i = 1; i <= share.tokens; ++i) {
      const uint64_t next = i < share.tokens ? HiddenOf(params, source, step, index + i, column) : ~hidden;
      if (next == hidden) continue;
      uint64_t mask[2] = {hidden, 0};
      if (hidden != 0)
        AscendC::Duplicate(scores[begin * group * stride + column], kNoScore, mask, (i - begin) * group, 1,
                           stride / kBlockFloats);
      hidden = next;
      begin = i;
    }
  }
  AscendC::PipeBarrier<PIPE_V>();
}

// The queries of a tile on their way to the AIC, whose own copies of few rows are slow.
template <class T>
class DenseFetch {
 public:
  __aicore__ inline DenseFetch(const AttentionParams& params, GM_ADDR query) : p_(params) {
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(query));
  }

  __aicore__ inline void Open() { AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent); }
  __aicore__ inline void Close() { AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent); }

  // `number` counts tiles that see something.
  __aicore__ inline void Fetch(const DenseTile& tile, int64_t number, const AscendC::LocalTensor<T>& ub,
                               const AscendC::GlobalTensor<T>& to) {
    const DenseShare share = ShareOf(tile);
    if (share.tokens > 0) {
      const uint16_t tokens = share.tokens, rows = share.tokens * p_.group;
      const uint32_t width = p_.d1 * sizeof(T), bytes = p_.group * width, stride = RowStride(p_.d1);
      const uint32_t skip = (p_.kv_heads - 1) * bytes;
      const uint32_t gap = stride * sizeof(T) - width;
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent);
      AscendC::DataCopyPad(ub, query_[QueryRow(p_, tile, share.first) * p_.d1], {tokens, bytes, skip, 0, 0},
                           {false, 0, 0, T{}});
      AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE3>(kEvent);
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE3>(kEvent);
      const int64_t row = number % kFetched * kDenseRows + share.first * p_.group;
      AscendC::DataCopyPad(to[row * stride], ub, {rows, width, 0, gap, 0});
      AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(kEvent);
    }
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kRowsReady);
  }

 private:
  static constexpr int32_t kEvent = 0;

  const AttentionParams& p_;
  AscendC::GlobalTensor<T> query_;
};

}  // namespace ms_nsa
