// SPDX-License-Identifier: Apache-2.0
// Scores from GM to UB and weights back, [rows, columns] out of matrices with longer rows. Without a gap on
// either side they are one burst: a burst costs, however short it is.
#pragma once

#include "row_vector.h"

namespace ms_nsa {

// UB rows are `stride` floats; what fills the last 32 bytes of a row up is 0.
__aicore__ inline void CopyScores(const Floats& ub, const AscendC::GlobalTensor<float>& gm, int32_t rows,
                                  int32_t columns, int32_t stride, int32_t gm_stride) {
  if (columns == stride && columns == gm_stride) {
    AscendC::DataCopy(ub, gm, rows * columns);
    return;
  }
  const int32_t filled = RoundUp(columns, kBlockFloats);
  const uint32_t bytes = columns * sizeof(float), skip = (gm_stride - columns) * sizeof(float);
  const uint32_t gap = (stride - filled) / kBlockFloats;
  AscendC::DataCopyPad(ub, gm, {static_cast<uint16_t>(rows), bytes, skip, gap, 0},
                       {true, 0, static_cast<uint8_t>(filled - columns), 0.0f});
}

template <class T>
__aicore__ inline void CopyWeights(const AscendC::GlobalTensor<T>& gm, const AscendC::LocalTensor<T>& ub,
                                   int32_t rows, int32_t columns, int32_t stride, int32_t gm_stride) {
  if (columns == stride && columns == gm_stride) {
    AscendC::DataCopy(gm, ub, rows * columns);
    return;
  }
  constexpr int32_t kBlock = 32 / sizeof(T);
  const uint32_t bytes = columns * sizeof(T), skip = (gm_stride - columns) * sizeof(T);
  const uint32_t gap = stride / kBlock - CeilDiv(columns, kBlock);
  AscendC::DataCopyPad(gm, ub, {static_cast<uint16_t>(rows), bytes, gap, skip, 0});
}

}  // namespace ms_nsa
