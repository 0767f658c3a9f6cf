// SPDX-License-Identifier: Apache-2.0
// Every buffer of a cube core, with one step that leaves it, is off its alignment or reads what nothing
// wrote. `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kSide = 32, kTile = kSide * kSide;
constexpr uint32_t kWide = 64;  // elements of the bias, and of the scales

class BufferFaults {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    in_.SetGlobalBuffer((__gm__ half*)a, kTile);
    words_.SetGlobalBuffer((__gm__ uint64_t*)a, kWide);
    z_.SetGlobalBuffer((__gm__ float*)z, kTile);
    Buffers();
    ToL1();
    ToL0();
    ToTables();
    Multiply();
    Store();
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(l1_, kTile * sizeof(half));
    pipe_.InitBuffer(table_, kWide * sizeof(uint64_t));
    pipe_.InitBuffer(l0a_, kTile * sizeof(half));
    pipe_.InitBuffer(l0b_, kTile * sizeof(half));
    pipe_.InitBuffer(l0c_, kTile * sizeof(float));
    pipe_.InitBuffer(bt_, kWide * sizeof(float));
    pipe_.InitBuffer(fb_, kWide * sizeof(uint64_t) + (Is(1) ? 7168 : 0));  // fault 1: capacity
    one_ = l1_.Get<half>();
    scales_ = table_.Get<uint64_t>();
    wide_ = scales_.ReinterpretCast<float>();
    a_ = l0a_.Get<half>();
    b_ = l0b_.Get<half>();
    c_ = l0c_.Get<float>();
    bias_ = bt_.Get<float>();
  }

  __aicore__ inline void ToL1() {
    DataCopy(one_, in_, kTile);
    if (!Is(2)) DataCopy(scales_, words_, kWide);
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_, wide_, kWide);  // fault 2: uninitialised
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_, wide_, DataCopyParams(1, Is(3) ? 17 : 16, 0, 0));  // fault 3: bounds
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ToL0() {
    LoadData2DParams p(0, 4, 1, 0, 0, false, 0);
    p.repeatTimes = Is(4) ? 3 : 4;
    LoadData(a_, one_, p);
    p.repeatTimes = Is(5) ? 3 : 4;
    LoadData(b_, one_, p);
    PipeBarrier<PIPE_ALL>();
    p.repeatTimes = 3;
    LoadData(a_, one_[Is(6) ? 8 : 0], p);  // fault 6: alignment
    PipeBarrier<PIPE_ALL>();
    LoadData(b_[Is(7) ? 128 : 0], one_, p);  // fault 7: alignment
    PipeBarrier<PIPE_ALL>();
    LoadData(a_[Is(8) ? 512 : 0], one_, p);  // fault 8: bounds
    PipeBarrier<PIPE_ALL>();
    LoadData(b_[Is(9) ? 512 : 0], one_, p);  // fault 9: bounds
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ToTables() {
    const LocalTensor<uint64_t> fixed = fb_.Get<uint64_t>();
    if (!Is(10)) DataCopy(bias_, wide_, kWide);
    PipeBarrier<PIPE_ALL>();
    if (!Is(10)) DataCopy(bias_[Is(11) ? 8 : 0], wide_, 16);  // fault 11: alignment
    PipeBarrier<PIPE_ALL>();
    if (!Is(10)) DataCopy(bias_, wide_, DataCopyParams(1, Is(12) ? 5 : 4, 0, 0));  // fault 12: bounds
    PipeBarrier<PIPE_ALL>();
    // The tail of a length that is no multiple of 64 bytes would stay behind.
    if (!Is(10)) DataCopy(bias_, wide_, Is(13) ? 24 : 32);  // fault 13: alignment
    PipeBarrier<PIPE_ALL>();
    DataCopy(fixed[Is(14) ? 8 : 0], scales_, 16);  // fault 14: alignment
    PipeBarrier<PIPE_ALL>();
    DataCopy(fixed[Is(15) ? 48 : 0], scales_, DataCopyParams(1, 4, 0, 0));  // fault 15: bounds
    PipeBarrier<PIPE_ALL>();
    DataCopy(fixed, scales_, DataCopyParams(Is(16) ? 2 : 1, 1, 4, 1));  // fault 16: unsupported
    PipeBarrier<PIPE_ALL>();
    if (Is(17)) DataCopy(fixed.ReinterpretCast<float>(), wide_, 32);  // fault 17: type
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Multiply() {
    MmadParams p;
    p.m = p.n = p.k = kSide;
    Mmad(c_, a_, b_, p);  // fault 4: uninitialised  // fault 5: uninitialised
    PipeBarrier<PIPE_ALL>();
    p.cmatrixSource = true;
    p.cmatrixInitVal = false;
    Mmad(c_, a_, b_, bias_[Is(18) ? 8 : 0], p);  // fault 10: uninitialised  // fault 18: alignment
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Store() {
    FixpipeParamsV220 p;
    p.nSize = p.mSize = p.srcStride = p.dstStride = kSide;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, p);
    PipeBarrier<PIPE_ALL>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_[Is(19) ? 8 : 0], p);  // fault 19: alignment
    PipeBarrier<PIPE_ALL>();
    if (Is(20)) p.srcStride = 2 * kSide;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, p);  // fault 20: bounds
    PipeBarrier<PIPE_ALL>();
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_, table_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bt_;
  TBuf<TPosition::C2PIPE2GM> fb_;
  GlobalTensor<half> in_;
  GlobalTensor<uint64_t> words_;
  GlobalTensor<float> z_;
  LocalTensor<half> one_, a_, b_;
  LocalTensor<uint64_t> scales_;
  LocalTensor<float> wide_, c_, bias_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_buffers(GM_ADDR a, GM_ADDR z, GM_ADDR workspace,
                                                     GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIC {
    BufferFaults op;
    op.Run(a, z, data);
  }
}
