// SPDX-License-Identifier: Apache-2.0
// out = softmax of each row. Tiles of rows go through queues of two buffers, so copies overlap the
// arithmetic; the last tile and the last lanes of a row are ragged.
#include "kernel_operator.h"

using namespace AscendC;

struct RowSoftmaxTiling {
  uint32_t rows;
  uint32_t columns;
};

constexpr uint32_t kTileRows = 8;
constexpr uint32_t kLanes = 8;  // floats of a 32-byte block
constexpr float kLowest = -3.0e38f;

class RowSoftmax {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR out, const RowSoftmaxTiling& t) {
    columns_ = t.columns;
    pitch_ = (columns_ + kLanes - 1) / kLanes * kLanes;
    x_.SetGlobalBuffer((__gm__ float*)x, uint64_t{t.rows} * columns_);
    out_.SetGlobalBuffer((__gm__ float*)out, uint64_t{t.rows} * columns_);
    pipe_.InitBuffer(in_, 2, kTileRows * pitch_ * sizeof(float));
    pipe_.InitBuffer(result_, 2, kTileRows * pitch_ * sizeof(float));
    pipe_.InitBuffer(stats_, kTileRows * sizeof(float));
    pipe_.InitBuffer(spread_, kTileRows * kLanes * sizeof(float));
    pipe_.InitBuffer(scratch_, (2 * pitch_ / 64 + 16) * sizeof(float));
    Duplicate(stats_.Get<float>(), 1.0f, static_cast<int32_t>(kTileRows));
    const uint32_t step = GetBlockNum() * kTileRows;
    for (uint32_t first = GetBlockIdx() * kTileRows; first < t.rows; first += step) {
      const uint32_t rows = first + kTileRows > t.rows ? t.rows - first : kTileRows;
      Load(first, rows);
      Compute(rows);
      Store(first, rows);
    }
  }

 private:
  __aicore__ inline void Load(uint32_t first, uint32_t rows) {
    LocalTensor<float> x = in_.AllocTensor<float>();
    DataCopyExtParams copy{static_cast<uint16_t>(rows), static_cast<uint32_t>(columns_ * sizeof(float)), 0, 0,
                           0};
    DataCopyPadExtParams<float> pad{true, 0, static_cast<uint8_t>(pitch_ - columns_), kLowest};
    DataCopyPad(x, x_[uint64_t{first} * columns_], copy, pad);
    in_.EnQue(x);
  }

  __aicore__ inline void Compute(uint32_t rows) {
    LocalTensor<float> x = in_.DeQue<float>();
    LocalTensor<float> y = result_.AllocTensor<float>();
    LocalTensor<float> stats = stats_.Get<float>(), scratch = scratch_.Get<float>();
    for (uint32_t r = 0; r < rows; ++r) {
      PipeBarrier<PIPE_V>();
      ReduceMax(stats[r], x[r * pitch_], scratch, static_cast<int32_t>(pitch_));
    }
    Spread();
    PerRow<true>(y, x, rows);
    in_.FreeTensor(x);
    PipeBarrier<PIPE_V>();
    Exp(y, y, static_cast<int32_t>(rows * pitch_));
    for (uint32_t r = 0; r < rows; ++r) {
      PipeBarrier<PIPE_V>();
      ReduceSum(stats[r], y[r * pitch_], scratch, static_cast<int32_t>(pitch_));
    }
    Spread();
    PerRow<false>(y, y, rows);
    result_.EnQue(y);
  }

  // One block of eight equal values for each row.
  __aicore__ inline void Spread() {
    PipeBarrier<PIPE_V>();
    Brcb(spread_.Get<float>(), stats_.Get<float>(), kTileRows / 8, BrcbRepeatParams(1, 8));
    PipeBarrier<PIPE_V>();
  }

  // y = x - stat or x / stat; a block stride of 0 repeats the row's block over its lanes.
  template <bool subtract>
  __aicore__ inline void PerRow(const LocalTensor<float>& y, const LocalTensor<float>& x, uint32_t rows) {
    const BinaryRepeatParams p(1, 1, 0, 8, 8, 0);
    SetMaskCount();
    SetVectorMask<float, MaskMode::COUNTER>(0, pitch_);
    for (uint32_t r = 0; r < rows; ++r) {
      const LocalTensor<float> stat = spread_.Get<float>()[r * kLanes];
      if (subtract) {
        Sub<float, false>(y[r * pitch_], x[r * pitch_], stat, MASK_PLACEHOLDER, 1, p);
      } else {
        Div<float, false>(y[r * pitch_], x[r * pitch_], stat, MASK_PLACEHOLDER, 1, p);
      }
    }
    SetMaskNorm();
    ResetMask();
  }

  __aicore__ inline void Store(uint32_t first, uint32_t rows) {
    LocalTensor<float> y = result_.DeQue<float>();
    DataCopyExtParams copy{static_cast<uint16_t>(rows), static_cast<uint32_t>(columns_ * sizeof(float)), 0, 0,
                           0};
    DataCopyPad(out_[uint64_t{first} * columns_], y, copy);
    result_.FreeTensor(y);
  }

  TPipe pipe_;
  TQue<TPosition::VECIN, 1> in_;
  TQue<TPosition::VECOUT, 1> result_;
  TBuf<TPosition::VECCALC> stats_, spread_, scratch_;
  GlobalTensor<float> x_, out_;
  uint32_t columns_ = 0, pitch_ = 0;
};

extern "C" __global__ __aicore__ void row_softmax(GM_ADDR x, GM_ADDR out, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(RowSoftmaxTiling, data, tiling);
  if ASCEND_IS_AIV {
    RowSoftmax op;
    op.Run(x, out, data);
  }
}
