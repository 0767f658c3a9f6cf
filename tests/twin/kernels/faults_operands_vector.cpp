// SPDX-License-Identifier: Apache-2.0
// One wrong operand or parameter of a vector API call, chosen by tiling. Most compile against the device
// headers. `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kTile = 512;  // floats
constexpr uint32_t kPart = 64;

class OperandsVector {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    x_.SetGlobalBuffer((__gm__ float*)x);
    z_.SetGlobalBuffer((__gm__ float*)z, Is(1) ? kTile / 2 : kTile);
    Buffers();
    Transfers();
    Padding();
    Elementwise();
    Masks();
    Types();
    Compares();
    Spread();
    Reductions();
    Gathers();
    Tensors();
    Scalars();
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(abuf_, kTile * sizeof(float));
    pipe_.InitBuffer(bbuf_, kTile * sizeof(float));
    pipe_.InitBuffer(cbuf_, kTile * sizeof(float));
    pipe_.InitBuffer(small_, 32);
    a_ = abuf_.Get<float>();
    b_ = bbuf_.Get<float>();
    c_ = cbuf_.Get<float>();
    Duplicate(a_, 1.0f, kTile);
    Duplicate(b_, 2.0f, kTile);
    Duplicate(c_, 3.0f, kTile);
    Duplicate(small_.Get<float>(), 4.0f, 8);
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Transfers() {
    DataCopy(z_, a_, kTile);  // fault 1: bounds
    PipeBarrier<PIPE_ALL>();
    DataCopy(a_, x_[Is(2) ? 8 : 0], kTile);  // fault 2: bounds
    PipeBarrier<PIPE_ALL>();
    DataCopy(a_, x_, DataCopyParams(Is(3) ? 4096 : 1, 1, 0, 0));  // fault 3: range
    PipeBarrier<PIPE_ALL>();
    DataCopy(a_[Is(4) ? 4 : 8], x_, 8);  // fault 4: alignment
    PipeBarrier<PIPE_ALL>();
    DataCopy(Is(48) ? small_.Get<float>() : c_, x_, 8);  // fault 48: position
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_, Is(49) ? small_.Get<float>() : c_, 8);  // fault 49: position
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Padding() {
    DataCopyExtParams row(1, 5 * sizeof(float), 0, 0, 0);
    DataCopyPadExtParams<float> pad(true, 0, 3, 0.0f);
    if (Is(5)) pad.isPad = false;
    DataCopyPad(c_, x_, row, pad);
    PipeBarrier<PIPE_ALL>();
    Adds(b_, c_, 1.0f, 8);  // fault 5: uninitialised
    PipeBarrier<PIPE_ALL>();
    pad.isPad = true;
    if (Is(6)) pad.leftPadding = 9;
    DataCopyPad(c_, x_, row, pad);  // fault 6: range
    pad.leftPadding = 0;
    PipeBarrier<PIPE_ALL>();
    if (Is(7)) row.blockLen = 18;
    DataCopyPad(c_, x_, row, pad);  // fault 7: range
    if (Is(8)) row.blockLen = 2097152;
    PipeBarrier<PIPE_ALL>();
    DataCopyPad(c_, x_, row, pad);  // fault 8: range
    PipeBarrier<PIPE_ALL>();
    DataCopyPad(Is(50) ? small_.Get<float>() : c_, x_, row, pad);  // fault 50: position
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Elementwise() {
    Adds(b_[Is(9) ? 1 : 0], a_, 1.0f, 64);  // fault 9: alignment
    PipeBarrier<PIPE_ALL>();
    Adds(b_, a_, 1.0f, uint64_t{64}, Is(10) ? 256 : 4, UnaryRepeatParams(1, 1, 8, 8));  // fault 10: repeat
    PipeBarrier<PIPE_ALL>();
    Duplicate(b_, 1.0f, uint64_t{64}, 2, 1, Is(11) ? 256 : 8);  // fault 11: repeat
    PipeBarrier<PIPE_ALL>();
    BinaryRepeatParams p(1, 1, 1, 8, 8, 8);
    if (Is(12)) p.src1RepStride = 300;
    Add(b_, a_, c_, uint64_t{64}, 2, p);  // fault 12: repeat
    PipeBarrier<PIPE_ALL>();
    Add(b_, a_, c_, uint64_t{64}, 8, BinaryRepeatParams(1, 1, 1, 8, 8, Is(13) ? 9 : 8));  // fault 13: bounds
    PipeBarrier<PIPE_ALL>();
    Muls(b_[Is(14) ? 8 : 0], b_, 2.0f, 128);  // fault 14: overlap
    PipeBarrier<PIPE_ALL>();
    LocalTensor<float> l1 = Is(15) ? InL1() : a_;
    Muls(b_, l1, 2.0f, 64);  // fault 15: position
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline LocalTensor<float> InL1() {
    pipe_.InitBuffer(l1_, 1024);
    return l1_.Get<float>();
  }

  __aicore__ inline void Masks() {
    const UnaryRepeatParams p(1, 1, 8, 8);
    Adds(b_, a_, 1.0f, uint64_t{Is(16) ? 65u : 64u}, 1, p);  // fault 16: mask
    PipeBarrier<PIPE_ALL>();
    Adds(b_, a_, 1.0f, uint64_t{Is(17) ? 0u : 64u}, 1, p);  // fault 17: mask
    PipeBarrier<PIPE_ALL>();
  }

  // The device headers reject faults 19 and 21 at compile time.
  __aicore__ inline void Types() {
    if (Is(19)) {
      LocalTensor<bfloat16_t> narrow = b_.ReinterpretCast<bfloat16_t>();
      Adds(narrow, narrow, bfloat16_t(1.0f), 64);  // fault 19: type
    }
    LocalTensor<half> h = c_.ReinterpretCast<half>();
    Cast(h, a_, RoundMode::CAST_RINT, 128);
    PipeBarrier<PIPE_ALL>();
    Cast(b_, h, Is(20) ? RoundMode::CAST_RINT : RoundMode::CAST_NONE, 128);  // fault 20: range
    PipeBarrier<PIPE_ALL>();
    if (Is(21)) Cast(c_.ReinterpretCast<int8_t>(), a_, RoundMode::CAST_RINT, 128);  // fault 21: type
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Compares() {
    LocalTensor<uint8_t> bits = c_.ReinterpretCast<uint8_t>();
    Compare(bits, a_, b_, CMPMODE::LT, Is(22) ? 100 : 128);  // fault 22: alignment
    PipeBarrier<PIPE_ALL>();
    if (Is(23)) Ints(bits);
    PipeBarrier<PIPE_ALL>();
    if (Is(24)) pipe_.InitBuffer(spare_, 185 * 1024);
    Select(b_, bits, a_, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 128);  // fault 24: capacity
    PipeBarrier<PIPE_ALL>();
    const SELMODE mode = Is(25) ? SELMODE::VSEL_TENSOR_SCALAR_MODE : SELMODE::VSEL_TENSOR_TENSOR_MODE;
    Select(b_, bits, a_, a_, mode, 128);  // fault 25: range
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Ints(const LocalTensor<uint8_t>& bits) {
    LocalTensor<int32_t> i = a_.ReinterpretCast<int32_t>();
    Compare(bits, i, i, CMPMODE::LT, 128);  // fault 23: type
  }

  __aicore__ inline void Spread() {
    if (Is(26)) {
      Brcb(a_, a_, 2, BrcbRepeatParams(1, 8));  // fault 26: overlap
    } else {
      Brcb(b_, a_, 2, BrcbRepeatParams(1, 8));
    }
    PipeBarrier<PIPE_ALL>();
    Brcb(b_, a_, 2, BrcbRepeatParams(Is(27) ? 0 : 1, 8));  // fault 27: range
    PipeBarrier<PIPE_ALL>();
    Brcb(b_, small_.Get<float>(), Is(28) ? 2 : 1, BrcbRepeatParams(1, 8));  // fault 28: bounds
    PipeBarrier<PIPE_ALL>();
    Copy(b_, a_, uint64_t{64}, 2, CopyRepeatParams(1, 1, Is(29) ? 256 : 8, 8));  // fault 29: range
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Reductions() {
    WholeReduceMax(b_, a_, 64, Is(30) ? 256 : 2, 1, 1, 8, ReduceOrder::ORDER_ONLY_VALUE);  // fault 30: repeat
    PipeBarrier<PIPE_ALL>();
    LocalTensor<float> tmp = Is(31) ? c_[kTile - 8] : c_;
    ReduceMax(b_, a_, tmp, kTile);  // fault 31: bounds
    PipeBarrier<PIPE_ALL>();
    ReduceSum(b_, a_, c_, Is(32) ? 0 : 64);  // fault 32: range
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Gathers() {
    LocalTensor<uint32_t> offsets = c_.ReinterpretCast<uint32_t>();
    for (uint32_t i = 0; i < 8; ++i) offsets.SetValue(i, 4 * (7 - i));
    if (Is(33)) offsets.SetValue(3, 6);
    if (Is(34)) offsets.SetValue(4, kTile * 4);
    PipeBarrier<PIPE_ALL>();
    Gather(b_, a_, offsets, 0, 8);  // fault 33: alignment  // fault 34: bounds
    PipeBarrier<PIPE_ALL>();
    uint64_t kept = 0;
    GatherMask(b_, a_, Is(35) ? 8 : 2, false, 0, GatherMaskParams(1, 2, 8, 0), kept);  // fault 35: range
    PipeBarrier<PIPE_ALL>();
    LocalTensor<float> to = Is(36) ? a_[8] : b_;
    GatherMask(to, a_, 2, true, 70, GatherMaskParams(1, 2, 9, 0), kept);  // fault 36: overlap
    PipeBarrier<PIPE_ALL>();
  }

  // Operands that end inside their buffer, but beyond their LocalTensor.
  __aicore__ inline void Tensors() {
    Duplicate(Half(40), 1.0f, 2 * kPart);  // fault 40: bounds
    PipeBarrier<PIPE_ALL>();
    Adds(Half(41), a_, 1.0f, uint64_t{64}, 2, UnaryRepeatParams(1, 1, 8, 8));  // fault 41: bounds
    PipeBarrier<PIPE_ALL>();
    Add(b_, a_, Half(42), uint64_t{64}, 2, BinaryRepeatParams(1, 1, 1, 8, 8, 8));  // fault 42: bounds
    PipeBarrier<PIPE_ALL>();
    uint64_t every_second[2] = {0x5555555555555555, 0};
    Muls(b_, Half(43), 2.0f, every_second, 1, UnaryRepeatParams(1, 2, 8, 8));  // fault 43: bounds
    PipeBarrier<PIPE_ALL>();
    DataCopy(Half(44), x_, 2 * kPart);  // fault 44: bounds
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_, Half(45)[kPart], kPart);  // fault 45: bounds
    PipeBarrier<PIPE_ALL>();
    cbuf_.GetWithOffset<float>(kTile, Is(46) ? 32 : 0);  // fault 46: bounds
    cbuf_.Get<float>(Is(47) ? kTile + 8 : kTile);        // fault 47: bounds
  }

  // 2 * kPart floats of a buffer, or in this fault only half of them.
  __aicore__ inline LocalTensor<float> Half(uint32_t fault) {
    return cbuf_.GetWithOffset<float>(Is(fault) ? kPart : 2 * kPart, 0);
  }

  __aicore__ inline void Scalars() {
    a_.SetValue(Is(37) ? kTile : 0, 1.0f);  // fault 37: bounds
    LocalTensor<float> fresh = Is(38) ? Fresh() : a_;
    a_.SetValue(0, fresh.GetValue(1));  // fault 38: uninitialised
    if (Is(39)) Cube();
    CounterMode();
  }

  // The count forms leave counter mode, so only a kernel that ends with mask forms shows it.
  __aicore__ inline void CounterMode() {
    PipeBarrier<PIPE_ALL>();
    SetMaskCount();  // fault 18: mask
    SetVectorMask<float, MaskMode::COUNTER>(0, 100);
    Adds<float, false>(b_, a_, 1.0f, MASK_PLACEHOLDER, 1, UnaryRepeatParams(1, 1, 8, 8));
    PipeBarrier<PIPE_ALL>();
    if (!Is(18)) SetMaskNorm();
    ResetMask();
  }

  __aicore__ inline LocalTensor<float> Fresh() {
    pipe_.InitBuffer(spare_, 1024);
    return spare_.Get<float>();
  }

  __aicore__ inline void Cube() {
    MmadParams p;
    p.m = p.n = p.k = 16;
    LocalTensor<half> h = b_.ReinterpretCast<half>();
    Mmad(a_, h, h, p);  // fault 39: core
  }

  TPipe pipe_;
  TBuf<TPosition::VECIN> abuf_, bbuf_, cbuf_;
  TBuf<TPosition::VECCALC> small_, spare_;
  TBuf<TPosition::A1> l1_;
  GlobalTensor<float> x_, z_;
  LocalTensor<float> a_, b_, c_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_operands_vector(GM_ADDR x, GM_ADDR z, GM_ADDR workspace,
                                                             GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    OperandsVector op;
    op.Run(x, z, data);
  }
}
