// SPDX-License-Identifier: Apache-2.0
// One wrong operand or parameter of a cube API call, chosen by tiling. Most compile against the device
// headers. `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kSide = 32, kTile = kSide * kSide;

class OperandsCube {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    in_.SetGlobalBuffer((__gm__ half*)a, kTile);
    z_.SetGlobalBuffer((__gm__ float*)z, kTile);
    narrow_.SetGlobalBuffer((__gm__ half*)z, kTile);
    Buffers();
    ToL1();
    ToL0();
    Multiply();
    Store();
    StoreToL1();
    Tensors();
    UnitFlag();
    if (Is(40)) Vector();
    if (Is(41)) ToUb();
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(l1_, 2 * kTile * sizeof(half) + (Is(1) ? 524288 : 0));    // fault 1: capacity
    pipe_.InitBuffer(l0a_, kTile * sizeof(half) + (Is(2) ? 65536 : 0));        // fault 2: capacity
    pipe_.InitBuffer(l0b_, kTile * sizeof(half) + (Is(3) ? 65536 : 0));        // fault 3: capacity
    pipe_.InitBuffer(l0c_, 2 * kTile * sizeof(float) + (Is(4) ? 131072 : 0));  // fault 4: capacity
    pipe_.InitBuffer(bt_, kSide * sizeof(float) + (Is(5) ? 1024 : 0));         // fault 5: capacity
    one_ = l1_.GetWithOffset<half>(kTile, 0);
    two_ = l1_.GetWithOffset<half>(kTile, kTile * sizeof(half));
    a_ = l0a_.Get<half>();
    b_ = l0b_.Get<half>();
    c_ = l0c_.Get<float>();
    mmad_.m = mmad_.n = mmad_.k = kSide;
    store_.nSize = store_.mSize = store_.srcStride = store_.dstStride = kSide;
  }

  __aicore__ inline void ToL1() {
    Nd2NzParams p(1, kSide, kSide, 0, kSide, kSide, 1, 0);
    if (Is(6)) p.srcDValue = 65536 + kSide;
    DataCopy(one_, in_, p);  // fault 6: range
    p.srcDValue = kSide;
    if (Is(7)) p.dstNzC0Stride = 0;
    PipeBarrier<PIPE_ALL>();
    DataCopy(one_, in_, p);  // fault 7: range
    p.dstNzC0Stride = kSide;
    PipeBarrier<PIPE_ALL>();
    if (Is(8)) p.nValue = kSide + 1;
    DataCopy(two_, in_, p);  // fault 8: bounds
    PipeBarrier<PIPE_ALL>();
    Fill(one_[Is(9) ? 8 : 0], InitConstValueParams<half>(1, 1, 0, half(0)));  // fault 9: alignment
    PipeBarrier<PIPE_ALL>();
    Fill(one_, InitConstValueParams<half>(Is(10) ? 40000 : 1, 1, 0, half(0)));  // fault 10: range
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ToL0() {
    LoadData2DParams p(0, Is(11) ? 260 : 4, 1, 0, 0, false, 0);
    LoadData(a_, one_, p);  // fault 11: repeat
    PipeBarrier<PIPE_ALL>();
    p.repeatTimes = 4;
    LoadData(b_, one_, p);
    PipeBarrier<PIPE_ALL>();
    LoadData(a_[Is(12) ? 16 : 0], one_, p);  // fault 12: alignment
    PipeBarrier<PIPE_ALL>();
    LoadData(Is(13) ? c_.ReinterpretCast<half>() : a_, one_, p);  // fault 13: position
    PipeBarrier<PIPE_ALL>();
    LoadData(a_, Is(14) ? b_ : one_, p);  // fault 14: position
    PipeBarrier<PIPE_ALL>();
    p.startIndex = Is(15) ? 5 : 0;
    LoadData(a_, two_, p);  // fault 15: bounds
    p.startIndex = 0;
    PipeBarrier<PIPE_ALL>();
    p.ifTranspose = true;
    if (Is(16)) LoadData(a_.ReinterpretCast<float>(), one_.ReinterpretCast<float>(), p);  // fault 16: type
    if (Is(17)) LoadData(a_, in_, p);  // fault 17: unsupported
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Multiply() {
    Mmad(c_, Is(18) ? b_ : a_, Is(18) ? a_ : b_, mmad_);  // fault 18: position
    PipeBarrier<PIPE_ALL>();
    MmadParams p = mmad_;
    if (Is(19)) p.k = 4096;
    Mmad(c_, a_, b_, p);  // fault 19: range
    PipeBarrier<PIPE_ALL>();
    p = mmad_;
    if (Is(20)) p.n = 4 * kSide;
    Mmad(c_, a_, b_, p);  // fault 20: bounds
    PipeBarrier<PIPE_ALL>();
    Mmad(c_[Is(21) ? 128 : 0], a_, b_, mmad_);  // fault 21: alignment
    PipeBarrier<PIPE_ALL>();
    if (Is(22)) Mmad(c_, a_, b_.ReinterpretCast<bfloat16_t>(), mmad_);  // fault 22: type
    p = mmad_;
    if (Is(23)) p.unitFlag = 1;
    Mmad(c_, a_, b_, p);  // fault 23: unit_flag
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Store() {
    FixpipeParamsV220 p = store_;
    if (Is(24)) p.srcNdStride = 513;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, p);  // fault 24: range
    PipeBarrier<PIPE_ALL>();
    p = store_;
    p.quantPre = Is(25) ? QuantMode_t::NoQuant : QuantMode_t::F322F16;
    Fixpipe<half, float, CFG_ROW_MAJOR>(narrow_, c_, p);  // fault 25: type
    PipeBarrier<PIPE_ALL>();
    p.quantPre = Is(26) ? QuantMode_t::DEQF16 : QuantMode_t::F322F16;
    Fixpipe<half, float, CFG_ROW_MAJOR>(narrow_, c_, p);  // fault 26: type
    PipeBarrier<PIPE_ALL>();
    p = store_;
    if (Is(27)) p.dstStride = kSide + 1;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, p);  // fault 27: bounds
    PipeBarrier<PIPE_ALL>();
    LocalTensor<float> other = l0a_.Get<float>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, Is(28) ? other : c_, store_);  // fault 28: position
    PipeBarrier<PIPE_ALL>();
    Tail();
  }

  // The rows of the tile beyond m are garbage.
  __aicore__ inline void Tail() {
    MmadParams p = mmad_;
    p.m = kSide - 3;
    Mmad(c_, a_, b_, p);
    PipeBarrier<PIPE_ALL>();
    FixpipeParamsV220 q = store_;
    q.mSize = Is(29) ? kSide : kSide - 3;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, q);  // fault 29: uninitialised
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void StoreToL1() {
    Mmad(c_, a_, b_, mmad_);
    PipeBarrier<PIPE_ALL>();
    FixpipeParamsV220 p = store_;
    p.quantPre = QuantMode_t::F322F16;
    if (Is(30)) Fixpipe<half, float, CFG_ROW_MAJOR>(one_, c_, p);  // fault 30: unsupported
    LocalTensor<float> wide = l1_.Get<float>();
    if (Is(31)) Fixpipe<float, float, CFG_NZ>(wide, c_, store_);  // fault 31: type
    if (Is(32)) p.nSize = 17;
    Fixpipe<half, float, CFG_NZ>(one_, c_, p);  // fault 32: range
    PipeBarrier<PIPE_ALL>();
    Fixpipe<half, float, CFG_NZ>(Is(33) ? one_[8] : one_, c_, FixpipeNz());  // fault 33: alignment
    PipeBarrier<PIPE_ALL>();
    if (Is(34)) SetAtomicAdd<half>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 34: atomic
    SetAtomicNone();
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline FixpipeParamsV220 FixpipeNz() const {
    FixpipeParamsV220 p = store_;
    p.quantPre = QuantMode_t::F322F16;
    return p;
  }

  // Under the unit flag no M_FIX and FIX_M is needed between Mmad and Fixpipe.
  __aicore__ inline void UnitFlag() {
    MmadParams p = mmad_;
    FixpipeParamsV220 q = store_;
    if (!Is(35)) p.unitFlag = 3;
    q.unitFlag = Is(36) ? 0 : 3;
    Mmad(c_, a_, b_, p);
    if (Is(36)) PipeBarrier<PIPE_ALL>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, q);  // fault 35: unit_flag  // fault 36: unit_flag
    if (Is(36)) return;
    PipeBarrier<PIPE_M>();
    p.unitFlag = 3;
    Mmad(c_, a_, b_, p);
    PipeBarrier<PIPE_M>();
    if (Is(37)) Mmad(c_, a_, b_, p);  // fault 37: unit_flag
    PipeBarrier<PIPE_FIX>();
    q.mSize = Is(38) ? 16 : kSide;
    q.unitFlag = 3;
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, q);
    PipeBarrier<PIPE_ALL>();
    if (Is(39)) p.unitFlag = 2;
    Mmad(c_[kTile], a_, b_, p);  // fault 38: unit_flag
    if (Is(39)) PipeBarrier<PIPE_ALL>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_[kTile], q);  // fault 39: unit_flag
    PipeBarrier<PIPE_ALL>();
  }

  // Operands that end inside their buffer, but beyond their LocalTensor.
  __aicore__ inline void Tensors() {
    Nd2NzParams rows(1, kSide, kSide, 0, kSide, kSide, 1, 0);
    DataCopy(l1_.GetWithOffset<half>(Few(42), 0), in_, rows);  // fault 42: bounds
    PipeBarrier<PIPE_ALL>();
    const LoadData2DParams load(0, 4, 1, 0, 0, false, 0);
    LoadData(l0a_.GetWithOffset<half>(Few(43), 0), one_, load);  // fault 43: bounds
    PipeBarrier<PIPE_ALL>();
    Mmad(c_, l0a_.GetWithOffset<half>(Few(44), 0), b_, mmad_);  // fault 44: bounds
    PipeBarrier<PIPE_ALL>();
    Mmad(l0c_.GetWithOffset<float>(Few(45), 0), a_, b_, mmad_);  // fault 45: bounds
    PipeBarrier<PIPE_ALL>();
    const LocalTensor<float> product = l0c_.GetWithOffset<float>(Few(46), 0);
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, product, store_);  // fault 46: bounds
    PipeBarrier<PIPE_ALL>();
  }

  // Elements of a tile, or in this fault only half of them.
  __aicore__ inline uint32_t Few(uint32_t fault) const { return Is(fault) ? kTile / 2 : kTile; }

  __aicore__ inline void Vector() {
    Adds(c_, c_, 1.0f, 64);  // fault 40: core
  }

  __aicore__ inline void ToUb() {
    pipe_.InitBuffer(ub_, 1024);
    DataCopy(ub_.Get<half>(), in_, 512);  // fault 41: core
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bt_;
  TBuf<TPosition::VECCALC> ub_;
  GlobalTensor<half> in_, narrow_;
  GlobalTensor<float> z_;
  LocalTensor<half> one_, two_, a_, b_;
  LocalTensor<float> c_;
  MmadParams mmad_;
  FixpipeParamsV220 store_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_operands_cube(GM_ADDR a, GM_ADDR z, GM_ADDR workspace,
                                                           GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIC {
    OperandsCube op;
    op.Run(a, z, data);
  }
}
