// SPDX-License-Identifier: Apache-2.0
// Second step of the statistics' gradients, where some rows ask for it: the number of the key of a row's
// largest score in its sequence + 1 takes the place of kWanted; 0: it sees none.
#pragma once

#include "statistics_grad.h"
#include "top_keys.h"

namespace ms_nsa {

// Takes UB as TopKeys does.
template <class T, class Rule>
class TopSearch {
 public:
  __aicore__ inline TopSearch(const AttentionParams& params, const GradAddresses& gm,
                              const typename Rule::Source& source, UnifiedBuffer& ub)
      : p_(params), source_(source), ub_(ub), keys_(params, gm, ub, 0) {}

  // Of rows [row, end) of a segment; whether any was found.
  __aicore__ inline bool Run(const Segment& segment, const GradExchange<T>& exchange, int64_t row,
                             int64_t end) {
    bool any = false;
    AscendC::PipeBarrier<PIPE_ALL>();
    for (; row < end; row += kRows) any |= Find(segment, exchange, row, Min(end - row, kRows));
    return any;
  }

 private:
  static constexpr int64_t kRows = 32;
  static constexpr int32_t kTopsFloats = kRows * kTopFloats;

 public:
  static constexpr int32_t kInBytes = TopKeys<T>::kInBytes;
  static constexpr int32_t kOutBytes = TopKeys<T>::kOutBytes + kTopsFloats * 4;

 private:
  __aicore__ inline Floats Tops() { return ub_.Out<float>(TopKeys<T>::kOutBytes, kTopsFloats); }
  __aicore__ inline AscendC::LocalTensor<int32_t> Keys() {
    return Tops().template ReinterpretCast<int32_t>();
  }

  __aicore__ inline bool Find(const Segment& segment, const GradExchange<T>& exchange, int64_t row,
                              int32_t rows) {
    const uint32_t bytes = rows * kTopFloats * 4;
    AscendC::DataCopyPad(Tops(), exchange.tops[row * kTopFloats], {1, bytes, 0, 0, 0}, {false, 0, 0, 0.0f});
    AscendC::PipeBarrier<PIPE_ALL>();
    bool any = false;
    for (int32_t i = 0, count; i < rows; i += count) {
      const int64_t pair = (row + i) / p_.group;
      count = Min<int64_t>((pair + 1) * p_.group - (row + i), rows - i);
      if (Wanted(i, count)) any |= FindOf(segment, pair, row, i, count);
    }
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::DataCopyPad(exchange.tops[row * kTopFloats], Tops(), {1, bytes, 0, 0, 0});
    AscendC::PipeBarrier<PIPE_ALL>();
    return any;
  }

  __aicore__ inline bool Wanted(int32_t first, int32_t count) {
    for (int32_t i = first; i < first + count; ++i) {
      if (Keys().GetValue(i * kTopFloats + 1) == kWanted) return true;
    }
    return false;
  }

  // Of a token and kv head, whose query heads lie together.
  __aicore__ inline bool FindOf(const Segment& segment, int64_t pair, int64_t row, int32_t first,
                                int32_t count) {
    const int32_t head = pair % p_.kv_heads;
    const int64_t token = pair / p_.kv_heads;
    keys_.Find(Rule::RowsOf(p_, source_, segment, token, head), segment.kv_start, head,
               segment.row * p_.kv_heads * p_.group + row + first, count);
    bool any = false;
    for (int32_t i = 0; i < count; ++i) {
      const int32_t at = (first + i) * kTopFloats + 1;
      if (Keys().GetValue(at) != kWanted) continue;
      Keys().SetValue(at, static_cast<int32_t>(keys_[i] + 1));
      any |= keys_[i] >= 0;
    }
    return any;
  }

  const AttentionParams& p_;
  const typename Rule::Source& source_;
  UnifiedBuffer& ub_;
  TopKeys<T> keys_;
};

}  // namespace ms_nsa
