// SPDX-License-Identifier: Apache-2.0
// z = x + y, double buffered through queues; each block takes one stretch of whole tiles, the last a ragged
// tail.
#include "kernel_operator.h"

using namespace AscendC;

struct VectorAddTiling {
  uint32_t length;
  uint32_t tile;
};

class VectorAdd {
 public:
  __aicore__ inline VectorAdd() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, GM_ADDR z, const VectorAddTiling& tiling, TPipe* pipe) {
    length_ = tiling.length;
    tile_ = tiling.tile;
    x_.SetGlobalBuffer((__gm__ half*)x, length_);
    y_.SetGlobalBuffer((__gm__ half*)y, length_);
    z_.SetGlobalBuffer((__gm__ half*)z, length_);
    pipe->InitBuffer(in_x_, 2, tile_ * sizeof(half));
    pipe->InitBuffer(in_y_, 2, tile_ * sizeof(half));
    pipe->InitBuffer(out_z_, 2, tile_ * sizeof(half));
  }

  __aicore__ inline void Process() {
    const uint32_t tiles = (length_ + tile_ - 1) / tile_;
    for (uint32_t t = GetBlockIdx(); t < tiles; t += GetBlockNum()) {
      const uint32_t begin = t * tile_;
      const uint32_t count = begin + tile_ > length_ ? length_ - begin : tile_;
      CopyIn(begin, count);
      Compute(count);
      CopyOut(begin, count);
    }
  }

 private:
  __aicore__ inline void CopyIn(uint32_t begin, uint32_t count) {
    LocalTensor<half> x = in_x_.AllocTensor<half>();
    LocalTensor<half> y = in_y_.AllocTensor<half>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(count * sizeof(half)), 0, 0, 0};
    DataCopyPadExtParams<half> pad{false, 0, 0, half(0)};
    DataCopyPad(x, x_[begin], copy, pad);
    DataCopyPad(y, y_[begin], copy, pad);
    in_x_.EnQue(x);
    in_y_.EnQue(y);
  }

  __aicore__ inline void Compute(uint32_t count) {
    LocalTensor<half> x = in_x_.DeQue<half>();
    LocalTensor<half> y = in_y_.DeQue<half>();
    LocalTensor<half> z = out_z_.AllocTensor<half>();
    Add(z, x, y, static_cast<int32_t>(count));
    out_z_.EnQue(z);
    in_x_.FreeTensor(x);
    in_y_.FreeTensor(y);
  }

  __aicore__ inline void CopyOut(uint32_t begin, uint32_t count) {
    LocalTensor<half> z = out_z_.DeQue<half>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(count * sizeof(half)), 0, 0, 0};
    DataCopyPad(z_[begin], z, copy);
    out_z_.FreeTensor(z);
  }

  GlobalTensor<half> x_, y_, z_;
  TQue<TPosition::VECIN, 1> in_x_, in_y_;
  TQue<TPosition::VECOUT, 1> out_z_;
  uint32_t length_, tile_;
};

extern "C" __global__ __aicore__ void vector_add(GM_ADDR x, GM_ADDR y, GM_ADDR z, GM_ADDR workspace,
                                                 GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(VectorAddTiling, data, tiling);
  if ASCEND_IS_AIV {
    TPipe pipe;
    VectorAdd op;
    op.Init(x, y, z, data, &pipe);
    op.Process();
  }
}
