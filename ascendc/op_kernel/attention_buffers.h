// SPDX-License-Identifier: Apache-2.0
// UB of the token-outer attention kernels, divided at constant offsets.
#pragma once

#include "attention_workspace.h"
#include "online_softmax.h"
#include "unified_buffer.h"

namespace ms_nsa {

class AttentionBuffers {
 public:
  // At least this many bytes, for code that uses the memory in turn with attention.
  __aicore__ inline AttentionBuffers(AscendC::TPipe& pipe, int32_t in_bytes, int32_t out_bytes) {
    ub_.Init(pipe, Max(kInBytes, in_bytes), Max(kOutBytes, out_bytes));
  }
  __aicore__ inline UnifiedBuffer& unified() { return ub_; }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Clear() {
    AscendC::Duplicate(Scores(0), 0.0f, kSlots * kScores);
    AscendC::Duplicate(Out(kStatsAt, kStatVectors * kStatRows), 0.0f, kStatVectors * kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline Floats Scores(int32_t slot) {
    return In(kScoresAt + slot * kScores * 4, (kSlots - slot) * kScores);
  }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Weights(int32_t slot) {
    return ub_.Out<T>(kWeightsAt + slot * kScores * 2, kScores);
  }
  __aicore__ inline Floats Product(int32_t slot) { return In(kProductsAt + slot * kProduct * 4, kProduct); }
  __aicore__ inline Floats Sum() { return Out(kSumAt, kProduct); }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Result() {
    return ub_.Out<T>(kResultAt, kProduct);
  }
  __aicore__ inline SoftmaxScratch Scratch() {
    return {Out(kFoldAt, kStatRows * kLanes), Out(kSpreadAt, kStatRows * kBlockFloats), Stat(0)};
  }
  __aicore__ inline Floats SpreadMax() { return Out(kStatisticsAt, kStatRows * kBlockFloats); }
  __aicore__ inline Floats SpreadSum() {
    return Out(kStatisticsAt + kStatRows * kBlockFloats * 4, kStatRows * kBlockFloats);
  }
  __aicore__ inline Floats Decay(int32_t slot) { return Stat(1 + slot); }
  __aicore__ inline RowStats Stats(int32_t slot) { return {Stat(3 + 2 * slot), Stat(4 + 2 * slot)}; }
  __aicore__ inline RowStats OtherStats() {
    return {In(kOtherStatsAt, kStatRows), In(kOtherStatsAt + kStatRows * 4, kStatRows)};
  }

 private:
  __aicore__ inline Floats In(int32_t at, int32_t floats) { return ub_.In<float>(at, floats); }
  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(at, floats); }
  __aicore__ inline Floats Stat(int32_t number) { return Out(kStatsAt + number * kStatRows * 4, kStatRows); }

  static constexpr int32_t kScores = kMaxRows * kMaxChunk;
  static constexpr int32_t kProduct = kMaxRows * kMaxWidth;
  static constexpr int32_t kStatVectors = 7;

  static constexpr int32_t kScoresAt = 0;
  static constexpr int32_t kProductsAt = kScoresAt + kSlots * kScores * 4;
  static constexpr int32_t kOtherStatsAt = kProductsAt + kSlots * kProduct * 4;
  static constexpr int32_t kInBytes = kOtherStatsAt + 2 * kStatRows * 4;

  static constexpr int32_t kWeightsAt = 0;
  static constexpr int32_t kSumAt = kWeightsAt + kSlots * kScores * 2;
  static constexpr int32_t kResultAt = kSumAt + kProduct * 4;
  static constexpr int32_t kFoldAt = kResultAt + kProduct * 2;
  static constexpr int32_t kSpreadAt = kFoldAt + kStatRows * kLanes * 4;
  static constexpr int32_t kStatsAt = kSpreadAt + kStatRows * kBlockFloats * 4;
  static constexpr int32_t kStatisticsAt = kStatsAt + kStatVectors * kStatRows * 4;
  static constexpr int32_t kOutBytes = kStatisticsAt + 2 * kStatRows * kBlockFloats * 4;
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");
  static_assert(kStatRows >= kMaxRows, "a statistic has a float for each row");

  UnifiedBuffer ub_;
};

}  // namespace ms_nsa
