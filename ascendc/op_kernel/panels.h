// SPDX-License-Identifier: Apache-2.0
// Products of L1 tiles, panel by panel of their inner dimension through two halves of L0A and L0B.
#pragma once

#include "attention_workspace.h"
#include "cube_tiles.h"

namespace ms_nsa {

template <class T>
class Panels {
  using Tile = AscendC::LocalTensor<T>;

 public:
  __aicore__ inline explicit Panels(AscendC::TPipe& pipe) {
    pipe.InitBuffer(l0a_, kL0Bytes);
    pipe.InitBuffer(l0b_, kL0Bytes);
  }

  __aicore__ inline void Open() {
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(kHalves);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(kHalves + 1);
  }
  __aicore__ inline void Close() {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves);
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + 1);
  }

  // product [m, right_rows] = left [m, width] right [right_rows, width]^T.
  __aicore__ inline void TimesTransposed(const AscendC::LocalTensor<float>& product, const Tile& left,
                                         int32_t left_rows, const Tile& right, int32_t right_rows, int32_t m,
                                         int32_t width) {
    TimesTransposed(product, left, left_rows, right, right_rows, m, width, PanelDepth(right_rows));
  }
  // `depth` columns at a time, at most PanelDepth(right_rows).
  __aicore__ inline void TimesTransposed(const AscendC::LocalTensor<float>& product, const Tile& left,
                                         int32_t left_rows, const Tile& right, int32_t right_rows, int32_t m,
                                         int32_t width, int32_t depth) {
    for (int32_t column = 0; column < width; column += depth) {
      const int32_t columns = Min(depth, width - column);
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
      LoadLeft(Left(), left, left_rows, column, columns);
      LoadRightTransposed(Right(), right, right_rows, column, columns);
      Multiply(product, m, right_rows, columns, column > 0);
    }
  }

  // The same for a left tile of slabs, all columns at once: right_rows * width and left_rows * width are at
  // most one panel.
  __aicore__ inline void SlabsTimesTransposed(const AscendC::LocalTensor<float>& product, const Tile& left,
                                              int32_t left_rows, const Tile& right, int32_t right_rows,
                                              int32_t m, int32_t width) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
    LoadRightTransposed(Left(), left, left_rows, 0, width);  // slabs lie as zZ does
    LoadRightTransposed(Right(), right, right_rows, 0, width);
    Multiply(product, m, right_rows, width, false);
  }

  // product [m, width] = left [m, inner] right [inner, width], of tiles with more columns and rows: those
  // from `first` on. right has right_rows rows, and what lies in it behind those does not matter; as slabs,
  // one instruction takes as many rows as a panel has.
  __aicore__ inline void Times(const AscendC::LocalTensor<float>& product, const Tile& left,
                               int32_t left_rows, const Tile& right, int32_t right_rows, int32_t m,
                               int32_t width, int32_t inner, int32_t first = 0, bool slabs = false) {
    const int32_t depth = PanelDepth(width), end = first + inner;
    for (int32_t row = first; row < end; row += depth) {
      const int32_t rows = Min(depth, end - row), loaded = RoundUp(rows, kCube);
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
      LoadLeft(Left(), left, left_rows, row, loaded);
      if (slabs) LoadTurned(Right(), right[row * width], loaded, width);
      if (!slabs) LoadRight(Right(), right, right_rows, width, row, loaded);
      Multiply(product, m, width, rows, row > first);
    }
  }

  // product [left_columns, width] (+)= left [inner, left_columns]^T right [inner, width], as a zN tile and
  // one of slabs, of `rows` >= inner rows, of which those behind row `inner` do not matter. One panel: rows *
  // width is at most one.
  __aicore__ inline void AddTransposedTimes(const AscendC::LocalTensor<float>& product, const Tile& left,
                                            int32_t left_columns, const Tile& right, int32_t rows,
                                            int32_t width, int32_t inner, bool accumulate) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
    LoadTurned(Left(), left, rows, left_columns);
    LoadTurned(Right(), right, rows, width);
    Multiply(product, left_columns, width, inner, accumulate);
  }

  // The same product as Times() piece by piece: StartPieces, TimesPiece for `width` columns from `column` on,
  // any number of them, EndPieces. One panel: right_rows times all columns is at most one.
  __aicore__ inline void StartPieces(const Tile& left, int32_t left_rows, const Tile& right,
                                     int32_t right_rows, int32_t all_columns, int32_t inner) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
    LoadLeft(Left(), left, left_rows, 0, RoundUp(inner, kCube));
    LoadTurned(Right(), right, right_rows, all_columns);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(kHalves + half_);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(kHalves + half_);
  }
  __aicore__ inline void TimesPiece(const AscendC::LocalTensor<float>& product, int32_t left_rows,
                                    int32_t right_rows, int32_t m, int32_t column, int32_t width,
                                    int32_t inner) {
    for (int32_t at = 0; at < width; at += kCube) {
      MultiplyPanel(product[at * left_rows], Left(), Right()[(column + at) * right_rows], m, kCube, inner,
                    false);
    }
  }
  __aicore__ inline void EndPieces() {
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
    half_ = 1 - half_;
  }

 private:
  // Events of (MTE1, M), one for each half: behind the three that TPipe keeps set on an AIC.
  static constexpr int32_t kHalves = 3;
  static_assert(kPanelFractals * kCube >= kMaxWidth && kPanelFractals * kCube >= kMaxChunk, "L0B panel");

  __aicore__ inline Tile Left() {
    return l0a_.template GetWithOffset<T>(kPanelFractals * kFractal, half_ * kL0Bytes / 2);
  }
  __aicore__ inline Tile Right() {
    return l0b_.template GetWithOffset<T>(kPanelFractals * kFractal, half_ * kL0Bytes / 2);
  }

  __aicore__ inline void Multiply(const AscendC::LocalTensor<float>& product, int32_t m, int32_t n, int32_t k,
                                  bool accumulate) {
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(kHalves + half_);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(kHalves + half_);
    MultiplyPanel(product, Left(), Right(), m, n, k, accumulate);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(kHalves + half_);
    half_ = 1 - half_;
  }

  AscendC::TBuf<AscendC::TPosition::A2> l0a_;
  AscendC::TBuf<AscendC::TPosition::B2> l0b_;
  int32_t half_ = 0;
};

}  // namespace ms_nsa
