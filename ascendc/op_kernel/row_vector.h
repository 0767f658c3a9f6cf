// SPDX-License-Identifier: Apache-2.0
// Row operations on float matrices [rows, columns] in UB, `stride` floats from row to row, at most 32 rows
// (more in ApplyRows). One instruction handles 64 columns of all rows: a repeat is a row.
#pragma once

#include "attention_workspace.h"
#include "kernel_operator.h"

namespace ms_nsa {

using Floats = AscendC::LocalTensor<float>;

constexpr int32_t kLanes = 64;       // floats of a repeat
constexpr int32_t kBlockFloats = 8;  // floats of 32 bytes

// The maximum of nothing. Finite, so that no difference of two maxima is NaN; no finite score is below.
constexpr float kLowest = -3.402823466e38f;

// In the place of a score that nobody has: it weighs nothing even where the largest score is kLowest.
constexpr float kNoScore = -__builtin_huge_valf();

enum class RowOp { kSub, kMul, kDiv };

// matrix[r, :] = matrix[r, :] op spread[r, 0..7], where Brcb made spread from a row statistic.
template <RowOp op>
__aicore__ inline void ApplyRows(const Floats& matrix, const Floats& spread, int32_t rows, int32_t columns,
                                 int32_t stride) {
  AscendC::BinaryRepeatParams params;
  params.src1BlkStride = 0;
  params.src1RepStride = 1;
  params.dstRepStride = params.src0RepStride = stride / kBlockFloats;
  for (int32_t c = 0; c < columns; c += kLanes) {
    const Floats part = matrix[c];
    const uint64_t lanes = Min(columns - c, kLanes);
    if constexpr (op == RowOp::kSub) AscendC::Sub(part, part, spread, lanes, rows, params);
    if constexpr (op == RowOp::kMul) AscendC::Mul(part, part, spread, lanes, rows, params);
    if constexpr (op == RowOp::kDiv) AscendC::Div(part, part, spread, lanes, rows, params);
  }
}

__aicore__ inline void SpreadRows(const Floats& spread, const Floats& statistic) {
  AscendC::Brcb(spread, statistic, kStatRows / kBlockFloats, {1, kBlockFloats});
}

// Every bit, that of the sign of 0 too.
__aicore__ inline void CopyFloats(const Floats& to, const Floats& from, int32_t count) {
  AscendC::Muls(to, from, 1.0f, count);
  AscendC::PipeBarrier<PIPE_V>();
}

// Sets columns [columns, stride) to kNoScore; stride is a multiple of 64.
__aicore__ inline void HideTail(const Floats& matrix, int32_t rows, int32_t columns, int32_t stride) {
  for (int32_t c = RoundDown(columns, kLanes); c < stride; c += kLanes) {
    uint64_t tail[2] = {columns > c ? ~uint64_t{0} << (columns - c) : ~uint64_t{0}, 0};
    AscendC::Duplicate(matrix[c], kNoScore, tail, rows, 1, stride / kBlockFloats);
  }
}

// row[first, end) = value; the row starts where vectors may.
template <class E>
__aicore__ inline void FillPart(const AscendC::LocalTensor<E>& row, int64_t first, int64_t end, E value) {
  while (first < end) {
    const int64_t start = RoundDown<int64_t>(first, kLanes), used = first - start;
    const int64_t whole = RoundDown<int64_t>(end, kLanes);
    if (used == 0 && whole > first) {
      AscendC::Duplicate(row[first], value, static_cast<int32_t>(whole - first));
      first = whole;
      continue;
    }
    const int64_t stop = Min<int64_t>(end - start, kLanes);
    const uint64_t below = stop == kLanes ? ~uint64_t{0} : (uint64_t{1} << stop) - 1;
    uint64_t mask[2] = {below & ~((uint64_t{1} << used) - 1), 0};
    AscendC::Duplicate(row[start], value, mask, 1, 1, kLanes / kBlockFloats);
    first = start + stop;
  }
}

// `count` pieces of `elements` each, `stride` elements apart in GM, to UB side by side.
template <class E>
__aicore__ inline void CopyPieces(const AscendC::LocalTensor<E>& ub, const AscendC::GlobalTensor<E>& gm,
                                  int32_t count, int32_t elements, int64_t stride) {
  if (count == 1 || stride == elements) {
    AscendC::DataCopy(ub, gm, count * elements);
    return;
  }
  const uint32_t bytes = elements * sizeof(E), skip = (stride - elements) * sizeof(E);
  AscendC::DataCopyPad(ub, gm, {static_cast<uint16_t>(count), bytes, skip, 0, 0}, {false, 0, 0, E{}});
}

// Folds `count` (> 1) vectors of `floats`, one behind the other, onto the first; the last one, into which two
// are folded, is `to`.
template <bool is_max>
__aicore__ inline void FoldVectors(const Floats& to, const Floats& vectors, int32_t count, int32_t floats) {
  while (count > 1) {
    const int32_t half = (count + 1) / 2;
    const Floats lower = count == 2 ? to : vectors, upper = vectors[half * floats];
    if (is_max) AscendC::Max(lower, vectors, upper, (count - half) * floats);
    if (!is_max) AscendC::Add(lower, vectors, upper, (count - half) * floats);
    AscendC::PipeBarrier<PIPE_V>();
    count = half;
  }
}

// The same in the place of the first one; one vector is left as it is.
template <bool is_max>
__aicore__ inline void FoldVectors(const Floats& vectors, int32_t count, int32_t floats) {
  FoldVectors<is_max>(vectors, vectors, count, floats);
}

// Folds the columns onto the first 64 in `fold` [rows, 64]; with 64 columns the matrix itself serves.
template <bool is_max>
__aicore__ inline void FoldColumns(const Floats& fold, const Floats& matrix, int32_t rows, int32_t stride) {
  AscendC::BinaryRepeatParams params;
  params.dstRepStride = kLanes / kBlockFloats;
  params.src0RepStride = params.src1RepStride = stride / kBlockFloats;
  for (int32_t c = kLanes; c < stride; c += kLanes) {
    const Floats left = c == kLanes ? matrix : fold;
    if (is_max) AscendC::Max(fold, left, matrix[c], static_cast<uint64_t>(kLanes), rows, params);
    if (!is_max) AscendC::Add(fold, left, matrix[c], static_cast<uint64_t>(kLanes), rows, params);
    params.src0RepStride = kLanes / kBlockFloats;
    AscendC::PipeBarrier<PIPE_V>();
  }
}

// statistic[r] = max or sum of row r; every column up to the stride takes part.
template <bool is_max>
__aicore__ inline void ReduceRows(const Floats& statistic, const Floats& matrix, const Floats& fold,
                                  int32_t rows, int32_t stride) {
  FoldColumns<is_max>(fold, matrix, rows, stride);
  const Floats source = stride > kLanes ? fold : matrix;
  constexpr int32_t kStep = kLanes / kBlockFloats;
  if constexpr (is_max) {
    AscendC::WholeReduceMax(statistic, source, kLanes, rows, 1, 1, kStep,
                            AscendC::ReduceOrder::ORDER_ONLY_VALUE);
  } else {
    AscendC::WholeReduceSum(statistic, source, kLanes, rows, 1, 1, kStep);
  }
}

}  // namespace ms_nsa
