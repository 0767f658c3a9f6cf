// SPDX-License-Identifier: Apache-2.0
// Which windows of a step share rows with which select blocks, for the cube: [part_blocks, chunk_rows], in
// units of 16 rows, so that small integers say it exactly. The same for every step of every tile.
#pragma once

#include "dense_buffers.h"
#include "dense_exchange.h"

namespace ms_nsa {

// Rows [first, first + rows) of the table, in float.
__aicore__ inline void FillOverlap(const DenseParams& params, const Floats& table, int32_t first,
                                   int32_t rows) {
  const int32_t windows = params.attention.chunk_rows, block = params.attention.select_block_size;
  const int32_t size = params.compress_block_size, stride = params.compress_stride;
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t begin = (first + row) * block, end = begin + block;
    for (int32_t window = Max(begin - size, 0) / stride; window < windows && window * stride < end;
         ++window) {
      const int32_t start = window * stride, shared = Min(start + size, end) - Max(start, begin);
      if (shared > 0) table.SetValue(row * windows + window, static_cast<float>(shared / 16));
    }
  }
}

// Each AIV makes half of the table. Takes UB where importance will be.
template <class T>
__aicore__ inline void MakeOverlap(const DenseParams& params, DenseBuffers& ub,
                                   const AscendC::GlobalTensor<T>& gm) {
  constexpr int32_t kRows = 32, kFloats = kRows * kDenseStep;
  const int32_t windows = params.attention.chunk_rows, half = params.part_blocks / kVectorCores;
  const int32_t first = AscendC::GetSubBlockIdx() * half;
  const Floats table = ub.Early<float>(0, kFloats);
  const AscendC::LocalTensor<T> rounded = ub.Early<T>(kFloats * 4, kFloats);
  for (int32_t row = 0; row < half; row += kRows) {
    const int32_t rows = Min(kRows, half - row);
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::Duplicate(table, 0.0f, kFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(0);
    FillOverlap(params, table, first + row, rows);
    AscendC::SetFlag<AscendC::HardEvent::S_V>(0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(0);
    AscendC::Cast(rounded, table, AscendC::RoundMode::CAST_RINT, rows * windows);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::DataCopy(gm[(first + row) * windows], rounded, rows * windows);
  }
  AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kTableReady);
  AscendC::PipeBarrier<PIPE_ALL>();
}

}  // namespace ms_nsa
