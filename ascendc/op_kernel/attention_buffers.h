// SPDX-License-Identifier: Apache-2.0
// UB of the token-outer attention kernels, divided at constant offsets.
#pragma once

#include "attention_workspace.h"
#include "online_softmax.h"
#include "unified_buffer.h"

namespace ms_nsa {

class AttentionBuffers {
 public:
  static constexpr int32_t kProduct = kMaxRows * kMaxWidth;

  // At least this many bytes, for code that uses the memory in turn with attention.
  __aicore__ inline AttentionBuffers(AscendC::TPipe& pipe, int32_t in_bytes, int32_t out_bytes) {
    ub_.Init(pipe, Max(kInBytes, in_bytes), Max(kOutBytes, out_bytes));
  }
  __aicore__ inline UnifiedBuffer& unified() { return ub_; }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Clear() {
    AscendC::Duplicate(Scores(0), 0.0f, kSlots * kScores);
    AscendC::Duplicate(Out(kStatsAt, kStatFloats), 0.0f, kStatFloats);
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
  __aicore__ inline Floats Sum(int32_t slot) { return Out(kSumsAt + slot * kProduct * 4, kProduct); }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Result() {
    return ub_.Out<T>(kResultAt, kProduct);
  }
  __aicore__ inline SoftmaxScratch Scratch() { return {Out(kFoldAt, kStatRows * kLanes), Spread(), Stat(0)}; }
  __aicore__ inline Floats Spread() { return Out(kSpreadAt, kPieceStats * kBlockFloats); }
  __aicore__ inline Floats SpreadMax() { return Out(kStatisticsAt, kStatRows * kBlockFloats); }
  __aicore__ inline Floats SpreadSum() {
    return Out(kStatisticsAt + kStatRows * kBlockFloats * 4, kStatRows * kBlockFloats);
  }
  __aicore__ inline Floats Decay(int32_t number) { return Stat(1 + number); }
  // Of the pieces of a bundle [kBundlePieces, kMaxRows], made here and loaded.
  __aicore__ inline RowStats PieceStats(int32_t slot) { return {Pieces(2 * slot), Pieces(2 * slot + 1)}; }
  __aicore__ inline RowStats LoadedStats(int32_t slot) {
    const int32_t at = kLoadedAt + 2 * slot * kPieceStats * 4;
    return {In(at, 2 * kPieceStats), In(at + kPieceStats * 4, kPieceStats)};
  }
  // Of bundles, in their first kStatRows floats.
  __aicore__ inline RowStats Stats(int32_t slot) { return {Pieces(4 + 2 * slot), Pieces(5 + 2 * slot)}; }
  __aicore__ inline Floats Factors() { return Pieces(8); }

 private:
  __aicore__ inline Floats In(int32_t at, int32_t floats) { return ub_.In<float>(at, floats); }
  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(at, floats); }
  __aicore__ inline Floats Stat(int32_t number) { return Out(kStatsAt + number * kStatRows * 4, kStatRows); }
  __aicore__ inline Floats Pieces(int32_t number) {
    const int32_t first = kStatVectors * kStatRows + number * kPieceStats;
    return Out(kStatsAt + first * 4, kStatFloats - first);
  }

  static constexpr int32_t kScores = kMaxRows * kMaxChunk;
  static constexpr int32_t kStatVectors = 3, kPieceVectors = 9;
  static constexpr int32_t kStatFloats = kStatVectors * kStatRows + kPieceVectors * kPieceStats;

  static constexpr int32_t kScoresAt = 0;
  static constexpr int32_t kProductsAt = kScoresAt + kSlots * kScores * 4;
  static constexpr int32_t kLoadedAt = kProductsAt + kSlots * kProduct * 4;
  static constexpr int32_t kInBytes = kLoadedAt + kSlots * 2 * kPieceStats * 4;

  static constexpr int32_t kWeightsAt = 0;
  static constexpr int32_t kSumsAt = kWeightsAt + kSlots * kScores * 2;
  static constexpr int32_t kResultAt = kSumsAt + kSlots * kProduct * 4;
  static constexpr int32_t kFoldAt = kResultAt + kProduct * 2;
  static constexpr int32_t kSpreadAt = kFoldAt + kStatRows * kLanes * 4;
  static constexpr int32_t kStatsAt = kSpreadAt + kPieceStats * kBlockFloats * 4;
  static constexpr int32_t kStatisticsAt = kStatsAt + kStatFloats * 4;
  static constexpr int32_t kOutBytes = kStatisticsAt + 2 * kStatRows * kBlockFloats * 4;
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");
  static_assert(kStatRows >= kStepPieces * kMaxRows,
                "a statistic has a float for each row of a step's pieces");

  UnifiedBuffer ub_;
};

}  // namespace ms_nsa
