// SPDX-License-Identifier: Apache-2.0
// A vector kernel (z = exp(2 x + y)) with hand-set events and one deliberate fault, chosen by tiling.
// `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "kernel_operator.h"

using namespace AscendC;

struct FaultTiling {
  uint32_t fault;
  uint32_t count;
};

constexpr uint32_t kTile = 256;

class FaultyVector {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR y, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    x_.SetGlobalBuffer((__gm__ float*)x, t.count);
    y_.SetGlobalBuffer((__gm__ float*)y, t.count);
    z_.SetGlobalBuffer((__gm__ float*)z, t.count);
    pipe_.InitBuffer(buffer_, 3 * kTile * sizeof(float));
    if (fault_ == 1) pipe_.InitBuffer(spare_, 196608);  // fault 1: capacity
    a_ = buffer_.GetWithOffset<float>(kTile, 0);
    b_ = buffer_.GetWithOffset<float>(kTile, kTile * 4);
    c_ = buffer_.GetWithOffset<float>(kTile, 2 * kTile * 4);
    for (uint32_t begin = GetBlockIdx() * kTile; begin < t.count; begin += GetBlockNum() * kTile) Tile(begin);
  }

 private:
  __aicore__ inline void Tile(uint32_t begin) {
    DataCopy(a_, x_[begin], fault_ == 2 ? kTile - 2 : kTile);  // fault 2: alignment
    if (fault_ != 3) DataCopy(b_, y_[begin], kTile);
    if (fault_ != 4) SetFlag<HardEvent::MTE2_V>(0);
    if (fault_ != 4) WaitFlag<HardEvent::MTE2_V>(0);
    if (fault_ == 5) SetFlag<HardEvent::MTE2_V>(1);  // fault 5: flag
    Muls(c_, a_, 2.0f, kTile);                       // fault 4: hazard_raw
    if (fault_ != 6) PipeBarrier<PIPE_V>();
    Add(c_, c_, b_, kTile);  // fault 3: uninitialised  // fault 6: hazard_raw
    PipeBarrier<PIPE_V>();
    Exp(c_, c_, fault_ == 7 ? kTile + 8 : kTile);  // fault 7: bounds
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    DataCopy(z_[fault_ == 8 ? 0 : begin], c_, kTile);  // fault 8: gm_race
    SetFlag<HardEvent::MTE3_V>(0);
    WaitFlag<HardEvent::MTE3_V>(0);
    SetFlag<HardEvent::V_MTE2>(0);
    WaitFlag<HardEvent::V_MTE2>(0);
  }

  TPipe pipe_;
  TBuf<TPosition::VECIN> buffer_, spare_;
  GlobalTensor<float> x_, y_, z_;
  LocalTensor<float> a_, b_, c_;
  uint32_t fault_;
};

extern "C" __global__ __aicore__ void faults_vector(GM_ADDR x, GM_ADDR y, GM_ADDR z, GM_ADDR workspace,
                                                    GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    FaultyVector op;
    op.Run(x, y, z, data);
  }
}
