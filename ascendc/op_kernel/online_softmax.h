// SPDX-License-Identifier: Apache-2.0
// Softmax over columns that arrive in steps: a running maximum and sum for each row, and what to multiply the
// product of the earlier steps by.
#pragma once

#include "row_vector.h"

namespace ms_nsa {

// A row without anything visible has sum 0; dividing by this instead leaves it 0.
constexpr float kLeastSum = 1.0e-30f;

template <class T>
constexpr bool kHasFloatRange = false;
template <>
constexpr bool kHasFloatRange<bfloat16_t> = true;

struct RowStats {
  Floats max, sum;  // [kStatRows]
};

// Buffers that only live inside a call.
struct SoftmaxScratch {
  Floats fold;    // [kStatRows, 64]
  Floats spread;  // [kStatRows, 8]
  Floats row;     // [kStatRows]
};

__aicore__ inline void ResetStats(const RowStats& stats) {
  AscendC::Duplicate(stats.max, kLowest, kStatRows);
  AscendC::Duplicate(stats.sum, 0.0f, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
}

// max = the larger of both; decay = exp(old max - new max). `other` is kept.
__aicore__ inline void RaiseMax(const Floats& max, const Floats& other, const Floats& decay,
                                int32_t count = kStatRows) {
  AscendC::Max(decay, max, other, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Sub(decay, max, decay, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Max(max, max, other, count);
  AscendC::Exp(decay, decay, count);
  AscendC::PipeBarrier<PIPE_V>();
}

// scale * score of [rows, stride], of which `columns` are real.
__aicore__ inline void ScaleScores(const Floats& scores, float scale, int32_t rows, int32_t columns,
                                   int32_t stride) {
  AscendC::Muls(scores, scores, scale, rows * stride);
  AscendC::PipeBarrier<PIPE_V>();
  HideTail(scores, rows, columns, stride);
  AscendC::PipeBarrier<PIPE_V>();
}

// From scaled scores to exp(score - max).
__aicore__ inline void ExpScores(const Floats& scores, const Floats& max, const Floats& spread, int32_t rows,
                                 int32_t stride) {
  SpreadRows(spread, max);
  AscendC::PipeBarrier<PIPE_V>();
  ApplyRows<RowOp::kSub>(scores, spread, rows, stride, stride);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Exp(scores, scores, rows * stride);
}

// scores [rows, stride], scaled, kNoScore where there is none: turned into exp(score - max), updating the
// statistics; decay [kStatRows] is what the sums of earlier steps are worth now.
__aicore__ inline void SoftmaxScaled(const Floats& scores, const RowStats& stats, const Floats& decay,
                                     const SoftmaxScratch& scratch, int32_t rows, int32_t stride) {
  ReduceRows<true>(scratch.row, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  RaiseMax(stats.max, scratch.row, decay);
  ExpScores(scores, stats.max, scratch.spread, rows, stride);
  AscendC::Mul(stats.sum, stats.sum, decay, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
  ReduceRows<false>(scratch.row, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Add(stats.sum, stats.sum, scratch.row, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
}

// The same for scores as they come, of which `columns` are real, in one step.
__aicore__ inline void Softmax(const Floats& scores, const RowStats& stats, const SoftmaxScratch& scratch,
                               float scale, int32_t rows, int32_t columns, int32_t stride) {
  ScaleScores(scores, scale, rows, columns, stride);
  ReduceRows<true>(stats.max, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Maxs(stats.max, stats.max, kLowest, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
  ExpScores(scores, stats.max, scratch.spread, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  ReduceRows<false>(stats.sum, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
}

// The maximum as users get it. kLowest is added once more where the sum is 0, the mark of nothing seen, which
// makes it -inf; elsewhere the sum is at least 1. A NaN score shows in the sum, but a maximum may pass it
// over.
// Takes two scratch vectors.
__aicore__ inline void FinishMax(const RowStats& stats, const Floats& lowest, const Floats& nan,
                                 int32_t count) {
  AscendC::Mins(lowest, stats.sum, 1.0f, count);
  AscendC::Muls(nan, stats.sum, 0.0f, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Adds(lowest, lowest, -1.0f, count);
  AscendC::Add(stats.max, stats.max, nan, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Muls(lowest, lowest, -kLowest, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Add(stats.max, stats.max, lowest, count);
  AscendC::PipeBarrier<PIPE_V>();
}

// From exponentials to what the cube multiplies by values: all of them, if those have the range of float,
// which their sum may leave, times weight_scale. A power of 2 changes no digit; float16 has neither the need
// nor the range.
template <class T>
__aicore__ inline void ScaleWeights(const AttentionParams& params, const Floats& weights, int32_t count) {
  if constexpr (kHasFloatRange<T>) {
    AscendC::Muls(weights, weights, params.weight_scale, count);
    AscendC::PipeBarrier<PIPE_V>();
  }
}

// What to divide the sum of values by. A row that sees nothing has sum 0.
template <class T>
__aicore__ inline void DivisorOf(const AttentionParams& params, const Floats& divisor, const Floats& sum,
                                 int32_t count) {
  const float scale = kHasFloatRange<T> ? params.weight_scale : 1.0f;
  AscendC::Muls(divisor, sum, scale, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Maxs(divisor, divisor, kLeastSum, count);
}

}  // namespace ms_nsa
