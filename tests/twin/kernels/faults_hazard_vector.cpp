// SPDX-License-Identifier: Apache-2.0
// Every ordered pair of pipes of a vector core, each with one missing flag or barrier, chosen by tiling.
// `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kTile = 256;
constexpr uint64_t kLine = 16;  // floats of a cache line

class HazardVector {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    x_.SetGlobalBuffer((__gm__ float*)x, 2 * kTile);
    z_.SetGlobalBuffer((__gm__ float*)z, 2 * kTile);
    pipe_.InitBuffer(buffer_, 3 * kTile * sizeof(float));
    a_ = buffer_.GetWithOffset<float>(kTile, 0);
    b_ = buffer_.GetWithOffset<float>(kTile, kTile * sizeof(float));
    c_ = buffer_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
    InComputeOut();
    PassThrough();
    ReadBack();
    Overwrite();
    InsideVector();
    ScalarAndMte2();
    ScalarAndVector();
    ScalarAndMte3();
    ScalarAndGm();
  }

 private:
  __aicore__ inline void InComputeOut() {
    DataCopy(a_, x_, kTile);
    Edge<HardEvent::MTE2_V>(fault_ != 1);
    Adds(b_, a_, 1.0f, kTile);  // fault 1: hazard_raw
    Edge<HardEvent::V_MTE2>(fault_ != 2);
    PipeBarrier<PIPE_MTE2>();
    DataCopy(a_, x_[kTile], kTile);  // fault 2: hazard_war
    Edge<HardEvent::V_MTE3>(fault_ != 3);
    DataCopy(z_, b_, kTile);  // fault 3: hazard_raw
    Edge<HardEvent::MTE3_V>(fault_ != 4);
    PipeBarrier<PIPE_V>();
    Duplicate(b_, 0.0f, kTile);  // fault 4: hazard_war
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void PassThrough() {
    DataCopy(a_, x_, kTile);
    Edge<HardEvent::MTE2_MTE3>(fault_ != 5);
    DataCopy(z_[kTile], a_, kTile);  // fault 5: hazard_raw
    Edge<HardEvent::MTE3_MTE2>(fault_ != 6);
    PipeBarrier<PIPE_MTE2>();
    DataCopy(a_, x_[kTile], kTile);  // fault 6: hazard_war
    PipeBarrier<PIPE_ALL>();
  }

  // The same bytes of GM by both directions.
  __aicore__ inline void ReadBack() {
    DataCopy(z_, b_, kTile);
    Edge<HardEvent::MTE3_MTE2>(fault_ != 7);
    DataCopy(c_, z_, kTile);  // fault 7: hazard_raw
    Edge<HardEvent::MTE2_MTE3>(fault_ != 8);
    PipeBarrier<PIPE_MTE3>();
    DataCopy(z_, b_, kTile);  // fault 8: hazard_war
    if (fault_ != 9) PipeBarrier<PIPE_MTE3>();
    DataCopy(z_, b_, kTile);  // fault 9: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Overwrite() {
    DataCopy(a_, x_, kTile);
    if (fault_ != 10) PipeBarrier<PIPE_MTE2>();
    DataCopy(a_, x_[kTile], kTile);  // fault 10: hazard_waw
    Edge<HardEvent::MTE2_V>(fault_ != 11);
    Duplicate(a_, 1.0f, kTile);  // fault 11: hazard_waw
    Edge<HardEvent::V_MTE2>(fault_ != 12);
    DataCopy(a_, x_, kTile);  // fault 12: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void InsideVector() {
    Duplicate(a_, 1.0f, kTile);
    if (fault_ != 13) PipeBarrier<PIPE_V>();
    Adds(b_, a_, 1.0f, kTile);  // fault 13: hazard_raw
    if (fault_ != 14) PipeBarrier<PIPE_V>();
    Duplicate(a_, 2.0f, kTile);  // fault 14: hazard_war
    if (fault_ != 15) PipeBarrier<PIPE_V>();
    Duplicate(a_, 3.0f, kTile);  // fault 15: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ScalarAndMte2() {
    DataCopy(a_, x_, kTile);
    Edge<HardEvent::MTE2_S>(fault_ != 16);
    first_ = a_.GetValue(0);  // fault 16: scalar
    Edge<HardEvent::S_MTE2>(fault_ != 17);
    DataCopy(a_, x_[kTile], kTile);  // fault 17: scalar
    Edge<HardEvent::MTE2_S>(fault_ != 22);
    a_.SetValue(0, first_);  // fault 22: scalar
    Edge<HardEvent::S_MTE2>(fault_ != 23);
    DataCopy(a_, x_, kTile);  // fault 23: scalar
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ScalarAndVector() {
    Duplicate(b_, 1.0f, kTile);
    Edge<HardEvent::V_S>(fault_ != 18);
    b_.SetValue(1, first_);  // fault 18: scalar
    Edge<HardEvent::S_V>(fault_ != 19);
    Adds(c_, b_, 1.0f, kTile);  // fault 19: scalar
    Edge<HardEvent::V_S>(fault_ != 24);
    b_.SetValue(2, first_);  // fault 24: scalar
    Edge<HardEvent::S_V>(fault_ != 25);
    Duplicate(b_, 2.0f, kTile);  // fault 25: scalar
    Edge<HardEvent::V_S>(fault_ != 26);
    first_ += b_.GetValue(3);  // fault 26: scalar
    Edge<HardEvent::S_V>(fault_ != 27);
    Duplicate(b_, 3.0f, kTile);  // fault 27: scalar
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ScalarAndMte3() {
    b_.SetValue(2, first_);
    Edge<HardEvent::S_MTE3>(fault_ != 20);
    DataCopy(z_, b_, kTile);  // fault 20: scalar
    Edge<HardEvent::MTE3_S>(fault_ != 21);
    b_.SetValue(3, first_);  // fault 21: scalar
    PipeBarrier<PIPE_ALL>();
  }

  // SetValue in GM is ordered by the clean behind it.
  __aicore__ inline void ScalarAndGm() {
    DataCopy(z_, b_, kTile);
    Edge<HardEvent::MTE3_S>(fault_ != 28);
    first_ += z_.GetValue(0);  // fault 28: scalar
    Edge<HardEvent::S_MTE3>(fault_ != 29);
    DataCopy(z_, b_, kTile);  // fault 29: scalar
    Edge<HardEvent::MTE3_S>(fault_ != 30);
    z_.SetValue(kLine, first_);  // fault 30: scalar
    Clean();
    DataCopy(a_, z_, kTile);
    Edge<HardEvent::MTE2_S>(fault_ != 31);
    z_.SetValue(kLine, first_);  // fault 31: scalar
    Clean();
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Clean() {
    DataCacheCleanAndInvalid<float, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(z_[kLine]);
  }

  TPipe pipe_;
  TBuf<TPosition::VECIN> buffer_;
  GlobalTensor<float> x_, z_;
  LocalTensor<float> a_, b_, c_;
  float first_ = 0;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_hazard_vector(GM_ADDR x, GM_ADDR z, GM_ADDR workspace,
                                                           GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    HazardVector op;
    op.Run(x, z, data);
  }
}
