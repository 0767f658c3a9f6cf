// SPDX-License-Identifier: Apache-2.0
// UB of the dense schedule, cut by dense_workspace.h.
#pragma once

#include "dense_workspace.h"
#include "online_softmax.h"
#include "unified_buffer.h"

namespace ms_nsa {

class DenseBuffers {
 public:
  __aicore__ inline DenseBuffers(const DenseParams& params, AscendC::TPipe& pipe)
      : at_(DenseUbOf(params)), sum_floats_(kHalfRows * params.attention.d2), d1_(params.attention.d1) {
    ub_.Init(pipe, at_.in_bytes, at_.out_bytes);
  }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Clear() {
    AscendC::Duplicate(ub_.In<float>(0, kSlots * kScores), 0.0f, kSlots * kScores);
    AscendC::Duplicate(Out(at_.stats, kDenseStats * kStatRows), 0.0f, kDenseStats * kStatRows);
    AscendC::Duplicate(Sum(), 0.0f, sum_floats_);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline Floats Scores(int32_t slot) { return ub_.In<float>(slot * kScores * 4, kScores); }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Weights(int32_t slot) {
    return ub_.Out<T>(slot * kScores * 2, kScores);
  }
  __aicore__ inline Floats Piece(int32_t slot) {
    return ub_.In<float>(at_.pieces + slot * kPiece * 4, kPiece);
  }
  __aicore__ inline Floats Top(int32_t slot) {
    return ub_.In<float>(at_.tops + slot * kStatRows * 4, kStatRows);
  }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Queries() {
    return ub_.In<T>(at_.queries, kHalfRows * d1_);
  }
  template <class T>
  __aicore__ inline AscendC::LocalTensor<T> Result(int32_t slot) {
    return ub_.Out<T>(at_.results + slot * kPiece * 2, kPiece);
  }
  // Of softmax_max and softmax_sum.
  __aicore__ inline Floats Lanes(int32_t which) {
    return Out(at_.lanes + which * kHalfRows * kBlockFloats * 4, kHalfRows * kBlockFloats);
  }
  __aicore__ inline AscendC::LocalTensor<int32_t> Chosen(int32_t slot) {
    return ub_.Out<int32_t>(at_.chosen + slot * kMostChosen * 4, kMostChosen);
  }
  __aicore__ inline SoftmaxScratch Scratch() {
    return {Out(at_.fold, kStatRows * kLanes), Out(at_.spread, kStatRows * kBlockFloats), Stat(0)};
  }
  __aicore__ inline Floats Decay(int32_t slot) { return Stat(1 + slot); }
  __aicore__ inline RowStats Stats(int32_t slot) {
    return {Stat(1 + kRing + 2 * slot), Stat(2 + kRing + 2 * slot)};
  }
  __aicore__ inline Floats TopOut(int32_t slot) { return Stat(1 + 3 * kRing + slot); }
  __aicore__ inline Floats Factor() { return Stat(1 + 3 * kRing + kSlots); }
  __aicore__ inline Floats Inverse() { return Stat(2 + 3 * kRing + kSlots); }
  __aicore__ inline Floats Sum() { return Out(at_.sum, sum_floats_); }
  // 0, 1, 2 ... of kSortBlocks.
  __aicore__ inline AscendC::LocalTensor<int32_t> Order() { return ub_.Out<int32_t>(at_.order, kSortBlocks); }
  __aicore__ inline Floats Importance() { return Out(at_.importance, at_.importance_floats); }
  // In the place of importance, before there is any.
  template <class E>
  __aicore__ inline AscendC::LocalTensor<E> Early(int32_t at, int32_t count) {
    return ub_.Out<E>(at_.importance + at, count);
  }

 private:
  static constexpr int32_t kScores = kHalfRows * kDenseStep;
  static_assert(3 + 3 * kRing + kSlots <= kDenseStats, "statistics");

  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(at, floats); }
  __aicore__ inline Floats Stat(int32_t number) { return Out(at_.stats + number * kStatRows * 4, kStatRows); }

  DenseUb at_;
  int32_t sum_floats_, d1_;
  UnifiedBuffer ub_;
};

}  // namespace ms_nsa
