// SPDX-License-Identifier: Apache-2.0
// Softmax over columns that arrive in steps: a running maximum and sum for each row, and what to multiply the
// product of the earlier steps by.
#pragma once

#include "row_vector.h"

namespace ms_nsa {

// A row without anything visible has sum 0; dividing by this instead leaves it 0.
constexpr float kLeastSum = 1.0e-30f;

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

// scores [rows, stride] of which `columns` are real: turned into exp(scale * score - max), updating the
// statistics; decay [kStatRows] is what the sums of earlier steps are worth now.
__aicore__ inline void SoftmaxStep(const Floats& scores, const RowStats& stats, const Floats& decay,
                                   const SoftmaxScratch& scratch, float scale, int32_t rows, int32_t columns,
                                   int32_t stride) {
  AscendC::Muls(scores, scores, scale, rows * stride);
  AscendC::PipeBarrier<PIPE_V>();
  HideTail(scores, rows, columns, stride);
  AscendC::PipeBarrier<PIPE_V>();
  ReduceRows<true>(scratch.row, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  RaiseMax(stats.max, scratch.row, decay);
  SpreadRows(scratch.spread, stats.max);
  AscendC::PipeBarrier<PIPE_V>();
  ApplyRows<RowOp::kSub>(scores, scratch.spread, rows, stride, stride);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Exp(scores, scores, rows * stride);
  AscendC::Mul(stats.sum, stats.sum, decay, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
  ReduceRows<false>(scratch.row, scores, scratch.fold, rows, stride);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Add(stats.sum, stats.sum, scratch.row, kStatRows);
  AscendC::PipeBarrier<PIPE_V>();
}

// The maximum as users get it. Doubling takes kLowest, the maximum of nothing, to -inf and halving leaves it
// there; every other one comes back as it was, but for those beyond 1.7e38, which come back infinite. A NaN
// score shows in the sum, but a maximum may pass it over.
__aicore__ inline void FinishMax(const RowStats& stats, const Floats& scratch, int32_t count) {
  AscendC::Muls(stats.max, stats.max, 2.0f, count);
  AscendC::Muls(scratch, stats.sum, 0.0f, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Muls(stats.max, stats.max, 0.5f, count);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Add(stats.max, stats.max, scratch, count);
  AscendC::PipeBarrier<PIPE_V>();
}

}  // namespace ms_nsa
