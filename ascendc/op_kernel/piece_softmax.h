// SPDX-License-Identifier: Apache-2.0
// Softmax over the pieces of a step: each row of each piece has a maximum and a sum of its own.
#pragma once

#include "online_softmax.h"

namespace ms_nsa {

// statistic[piece, kMaxRows] = max or sum of matrix [rows, pieces, width]; the last piece may be filled up
// with what does not count.
template <bool is_max>
__aicore__ inline void ReducePieces(const Floats& statistic, const Floats& matrix, const Floats& fold,
                                    int32_t rows, int32_t pieces, int32_t width) {
  FoldColumns<is_max>(fold, matrix, rows * pieces, width);
  const Floats source = width > kLanes ? fold : matrix;
  const int32_t step = pieces * kLanes / kBlockFloats;
  for (int32_t piece = 0; piece < pieces; ++piece) {
    const Floats to = statistic[piece * kMaxRows], from = source[piece * kLanes];
    if constexpr (is_max) {
      AscendC::WholeReduceMax(to, from, kLanes, rows, 1, 1, step, AscendC::ReduceOrder::ORDER_ONLY_VALUE);
    } else {
      AscendC::WholeReduceSum(to, from, kLanes, rows, 1, 1, step);
    }
  }
}

// scores [rows, pieces, width], of which the first `columns` of a row are real: turned into exp(scale * score
// - max). stats [pieces, kMaxRows].
__aicore__ inline void SoftmaxPieces(const Floats& scores, const RowStats& stats,
                                     const SoftmaxScratch& scratch, float scale, int32_t rows,
                                     int32_t columns, int32_t pieces, int32_t width) {
  const int32_t stride = pieces * width;
  ScaleScores(scores, scale, rows, columns, stride);
  ReducePieces<true>(stats.max, scores, scratch.fold, rows, pieces, width);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Maxs(stats.max, stats.max, kLowest, pieces * kMaxRows);
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Brcb(scratch.spread, stats.max, pieces * kMaxRows / kBlockFloats, {1, kBlockFloats});
  AscendC::PipeBarrier<PIPE_V>();
  for (int32_t piece = 0; piece < pieces; ++piece) {
    const Floats spread = scratch.spread[piece * kMaxRows * kBlockFloats];
    ApplyRows<RowOp::kSub>(scores[piece * width], spread, rows, width, stride);
  }
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::Exp(scores, scores, rows * stride);
  AscendC::PipeBarrier<PIPE_V>();
  ReducePieces<false>(stats.sum, scores, scratch.fold, rows, pieces, width);
  AscendC::PipeBarrier<PIPE_V>();
}

}  // namespace ms_nsa
