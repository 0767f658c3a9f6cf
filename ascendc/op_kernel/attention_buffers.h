// UB of the token-outer attention kernels: one buffer, cut by constant offsets.
#pragma once

#include "attention_workspace.h"
#include "online_softmax.h"

namespace ms_nsa {

class AttentionBuffers {
 public:
  __aicore__ inline explicit AttentionBuffers(AscendC::TPipe& pipe) { pipe.InitBuffer(ub_, kBytes); }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Clear() {
    AscendC::Duplicate(Scores(0), 0.0f, kSlots * kScores);
    AscendC::Duplicate(At(kStatsAt, kStatVectors * kStatRows), 0.0f, kStatVectors * kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline Floats Scores(int32_t slot) {
    return At(kScoresAt + slot * kScores * 4, (kSlots - slot) * kScores);
  }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Weights(int32_t slot) {
    return ub_.template GetWithOffset<T>(kScores, kWeightsAt + slot * kScores * 2);
  }
  __aicore__ inline Floats Product(int32_t slot) { return At(kProductsAt + slot * kProduct * 4, kProduct); }
  __aicore__ inline Floats Sum() { return At(kSumAt, kProduct); }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Result() {
    return ub_.template GetWithOffset<T>(kProduct, kResultAt);
  }
  __aicore__ inline SoftmaxScratch Scratch() {
    return {At(kFoldAt, kStatRows * kLanes), At(kSpreadAt, kStatRows * kBlockFloats), Stat(0)};
  }
  __aicore__ inline Floats SpreadMax() { return At(kStatisticsAt, kStatRows * kBlockFloats); }
  __aicore__ inline Floats SpreadSum() {
    return At(kStatisticsAt + kStatRows * kBlockFloats * 4, kStatRows * kBlockFloats);
  }
  __aicore__ inline Floats Decay(int32_t slot) { return Stat(1 + slot); }
  __aicore__ inline RowStats Stats(int32_t slot) { return {Stat(3 + 2 * slot), Stat(4 + 2 * slot)}; }
  __aicore__ inline RowStats OtherStats() { return {Stat(7), Stat(8)}; }

 private:
  __aicore__ inline Floats At(int32_t bytes, int32_t floats) {
    return ub_.template GetWithOffset<float>(floats, bytes);
  }
  __aicore__ inline Floats Stat(int32_t number) { return At(kStatsAt + number * kStatRows * 4, kStatRows); }

  static constexpr int32_t kScores = kMaxRows * kMaxChunk;
  static constexpr int32_t kProduct = kMaxRows * kMaxWidth;
  static constexpr int32_t kStatVectors = 9;

  static constexpr int32_t kScoresAt = 0;
  static constexpr int32_t kWeightsAt = kScoresAt + kSlots * kScores * 4;
  static constexpr int32_t kProductsAt = kWeightsAt + kSlots * kScores * 2;
  static constexpr int32_t kSumAt = kProductsAt + kSlots * kProduct * 4;
  static constexpr int32_t kResultAt = kSumAt + kProduct * 4;
  static constexpr int32_t kFoldAt = kResultAt + kProduct * 2;
  static constexpr int32_t kSpreadAt = kFoldAt + kStatRows * kLanes * 4;
  static constexpr int32_t kStatsAt = kSpreadAt + kStatRows * kBlockFloats * 4;
  static constexpr int32_t kStatisticsAt = kStatsAt + kStatVectors * kStatRows * 4;
  static constexpr int32_t kBytes = kStatisticsAt + 2 * kStatRows * kBlockFloats * 4;
  static constexpr int32_t kUbBytes = 184 * 1024;  // what Select reserves lies behind
  static_assert(kBytes <= kUbBytes, "UB");
  static_assert(kStatRows >= kMaxRows, "a statistic has a float for each row");

  AscendC::TBuf<AscendC::TPosition::VECCALC> ub_;
};

}  // namespace ms_nsa
