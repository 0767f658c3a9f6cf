// SPDX-License-Identifier: Apache-2.0
// Tiles on the way to the cube: rows of GM into L1 as zN, panels of L1 into L0, and the product of a panel.
// Layouts: zN element (i, j) of a tile with R rows is at (j / 16) * R * 16 + i * 16 + j % 16 (16-bit types).
#pragma once

#include "integers.h"
#include "kernel_operator.h"

namespace ms_nsa {

constexpr int32_t kCube = 16;                                      // rows and columns of a fractal
constexpr int32_t kFractal = kCube * kCube;                        // elements
constexpr int32_t kL0Bytes = 65536;                                // L0A and L0B
constexpr int32_t kPanelFractals = kL0Bytes / 2 / (kFractal * 2);  // two panels in flight

// Rows [0, rows) of `width` columns, `stride` elements apart, to row 0 of `tile` on in a zN tile of
// tile_rows.
template <class T>
__aicore__ inline void LoadRows(const AscendC::LocalTensor<T>& tile,
                                const AscendC::GlobalTensor<T>& rows_in_gm, int64_t rows, int32_t width,
                                int64_t stride, int32_t tile_rows) {
  AscendC::Nd2NzParams copy;
  copy.ndNum = 1;
  copy.dValue = width;
  copy.srcNdMatrixStride = 0;
  copy.dstNzC0Stride = tile_rows;
  copy.dstNzNStride = 1;
  copy.dstNzMatrixStride = 0;
  constexpr int64_t kMaxStride = 65535;  // the field has 16 bits
  if (stride <= kMaxStride) {
    copy.nValue = rows;
    copy.srcDValue = stride;
    AscendC::DataCopy(tile, rows_in_gm, copy);
    return;
  }
  copy.nValue = 1;
  copy.srcDValue = width;
  for (int64_t row = 0; row < rows; ++row)
    AscendC::DataCopy(tile[row * kCube], rows_in_gm[row * stride], copy);
}

// LoadRows for few rows with a small stride. A copy of few long rows is slow. If the width is a multiple of
// 16, each row is therefore copied as a matrix of its own, 16 columns wide and without gaps.
template <class T>
__aicore__ inline void LoadFewRows(const AscendC::LocalTensor<T>& tile,
                                   const AscendC::GlobalTensor<T>& rows_in_gm, int32_t rows, int32_t width,
                                   int32_t stride, int32_t tile_rows) {
  if (width % kCube > 0) return LoadRows(tile, rows_in_gm, rows, width, stride, tile_rows);
  AscendC::Nd2NzParams copy;
  copy.ndNum = rows;
  copy.nValue = width / kCube;
  copy.dValue = kCube;
  copy.srcNdMatrixStride = stride;
  copy.srcDValue = kCube;
  copy.dstNzC0Stride = tile_rows;
  copy.dstNzNStride = tile_rows;
  copy.dstNzMatrixStride = kCube;
  AscendC::DataCopy(tile, rows_in_gm, copy);
}

constexpr int64_t kMaxSlabStride = 65535 / kCube;  // a field of 16 bits takes 16 times the stride

// As LoadRows with a stride up to that, but to slabs of 16 rows, one after the other, each a zN tile of its
// own. One instruction takes them all to L0A, and one transposes them into L0B; LoadLeft and LoadRight take
// one per 16 rows.
template <class T>
__aicore__ inline void LoadSlabs(const AscendC::LocalTensor<T>& tile,
                                 const AscendC::GlobalTensor<T>& rows_in_gm, int32_t rows, int32_t width,
                                 int32_t stride) {
  const int32_t whole = rows / kCube, rest = rows % kCube;
  AscendC::Nd2NzParams copy;
  copy.ndNum = whole;
  copy.nValue = kCube;
  copy.dValue = width;
  copy.srcNdMatrixStride = kCube * stride;
  copy.srcDValue = stride;
  copy.dstNzC0Stride = kCube;
  copy.dstNzNStride = 1;
  copy.dstNzMatrixStride = kCube * width;
  if (whole > 0) AscendC::DataCopy(tile, rows_in_gm, copy);
  copy.ndNum = 1;
  copy.nValue = rest;
  if (rest > 0) AscendC::DataCopy(tile[whole * kCube * width], rows_in_gm[whole * kCube * stride], copy);
}

// Zeros rows [first, last) of a zN tile.
template <class T>
__aicore__ inline void ClearRows(const AscendC::LocalTensor<T>& tile, int32_t first, int32_t last,
                                 int32_t width, int32_t tile_rows) {
  if (first == last) return;
  AscendC::InitConstValueParams<half> fill;
  fill.repeatTimes = width / kCube;
  fill.blockNum = last - first;
  fill.dstGap = tile_rows - (last - first);
  fill.initValue = static_cast<half>(0.0f);
  AscendC::Fill(tile[first * kCube].template ReinterpretCast<half>(), fill);
}

// Rows [rows, tile_rows): what lies there would meet the cube as NaN * 0.
template <class T>
__aicore__ inline void ClearRows(const AscendC::LocalTensor<T>& tile, int32_t rows, int32_t width,
                                 int32_t tile_rows) {
  ClearRows(tile, rows, tile_rows, width, tile_rows);
}

// Of a left operand with m rows: the cube gets two where there is one (see MultiplyPanel), and must not meet
// what nobody wrote.
template <class T>
__aicore__ inline void ClearSecondRow(const AscendC::LocalTensor<T>& tile, int32_t m, int32_t width,
                                      int32_t tile_rows) {
  if (m == 1) ClearRows(tile, 1, 2, width, tile_rows);
}

// Columns [column, column + columns) of a zN tile to L0A as zZ.
template <class T>
__aicore__ inline void LoadLeft(const AscendC::LocalTensor<T>& l0a, const AscendC::LocalTensor<T>& tile,
                                int32_t tile_rows, int32_t column, int32_t columns) {
  AscendC::LoadData2DParams load;
  load.repeatTimes = columns / kCube;
  load.srcStride = tile_rows / kCube;
  for (int32_t i = 0; i < tile_rows / kCube; ++i) {
    AscendC::LoadData(l0a[i * columns * kCube], tile[column * tile_rows + i * kFractal], load);
  }
}

// The fractals of a zN tile in the same order, each turned. In L0A this is the transpose as zZ; in L0B it is
// 16 columns after the other, each as an nZ of its own: one instruction, where LoadRight takes one for 16
// rows. Those of a tile of slabs make the whole tile as nZ in L0B.
template <class T>
__aicore__ inline void LoadTurned(const AscendC::LocalTensor<T>& l0, const AscendC::LocalTensor<T>& tile,
                                  int32_t tile_rows, int32_t columns) {
  AscendC::LoadData2DParams load;
  load.repeatTimes = tile_rows / kCube * (columns / kCube);
  load.srcStride = 1;
  load.ifTranspose = true;
  AscendC::LoadData(l0, tile, load);
}

// Columns [column, column + columns) of a zN tile to L0B, transposed: nZ of the transpose is the same bytes.
template <class T>
__aicore__ inline void LoadRightTransposed(const AscendC::LocalTensor<T>& l0b,
                                           const AscendC::LocalTensor<T>& tile, int32_t tile_rows,
                                           int32_t column, int32_t columns) {
  AscendC::LoadData2DParams load;
  load.repeatTimes = columns / kCube * (tile_rows / kCube);
  load.srcStride = 1;
  AscendC::LoadData(l0b, tile[column * tile_rows], load);
}

// Rows [row, row + rows) of a zN tile to L0B as nZ.
template <class T>
__aicore__ inline void LoadRight(const AscendC::LocalTensor<T>& l0b, const AscendC::LocalTensor<T>& tile,
                                 int32_t tile_rows, int32_t width, int32_t row, int32_t rows) {
  AscendC::LoadData2DParams load;
  load.repeatTimes = width / kCube;
  load.srcStride = tile_rows / kCube;
  load.ifTranspose = true;
  for (int32_t i = 0; i < rows / kCube; ++i) {
    AscendC::LoadData(l0b[i * kCube * width], tile[(row / kCube + i) * kFractal], load);
  }
}

// Columns (rows) of the inner dimension in one panel, when the right operand has `width` along the other.
__aicore__ inline int32_t PanelDepth(int32_t width) {
  return kPanelFractals / (width / kCube) * kCube;
}

// product (+)= left right. m = 1 would select the matrix-vector form, which reads its operand another way.
template <class T>
__aicore__ inline void MultiplyPanel(const AscendC::LocalTensor<float>& product,
                                     const AscendC::LocalTensor<T>& left,
                                     const AscendC::LocalTensor<T>& right, int32_t m, int32_t n, int32_t k,
                                     bool accumulate) {
  constexpr int32_t kFewFractals = 10;  // whole ones: below, a product may read sums not yet written
  AscendC::MmadParams mmad;
  const int32_t rows = m < 2 ? 2 : m;
  if (accumulate && rows / kCube * (n / kCube) < kFewFractals) AscendC::PipeBarrier<PIPE_M>();
  mmad.m = rows;
  mmad.n = n;
  mmad.k = k;
  mmad.cmatrixInitVal = !accumulate;
  AscendC::Mmad(product, left, right, mmad);
}

// Rows [0, rows) of a product of tile_rows rows in L0C to row-major GM.
__aicore__ inline void StoreProduct(const AscendC::GlobalTensor<float>& gm,
                                    const AscendC::LocalTensor<float>& product, int32_t tile_rows,
                                    int32_t rows, int32_t columns, int64_t stride) {
  AscendC::FixpipeParamsV220 store;
  store.nSize = columns;
  store.mSize = rows;
  store.srcStride = tile_rows;
  store.dstStride = stride;
  store.ndNum = 1;
  store.quantPre = QuantMode_t::NoQuant;
  AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(gm, product, store);
}

}  // namespace ms_nsa
