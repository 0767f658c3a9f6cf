// SPDX-License-Identifier: Apache-2.0
// Every ordered pair of pipes of a cube core that can meet on the same bytes, each with one missing flag or
// barrier. `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kSide = 16, kTile = kSide * kSide;
constexpr uint32_t kWide = 256;  // columns of a product of many fractals
constexpr uint64_t kLine = 16;   // floats of a cache line

class HazardCube {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    in_.SetGlobalBuffer((__gm__ half*)a, kTile);
    z_.SetGlobalBuffer((__gm__ float*)z, kTile);
    Buffers();
    Prepare();
    LoadMultiplyStore();
    Accumulate();
    AccumulateWide();
    ThroughL1();
    StraightToL0();
    ReadBack();
    FromL1ToGm();
    Bias();
    OverwriteL1();
    L1ToFixpipeBuffer();
    OverwriteL0();
    OverwriteGm();
    Scalar();
  }

 private:
  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(l1_, 4 * kTile * sizeof(float));
    pipe_.InitBuffer(l0a_, kTile * sizeof(half));
    pipe_.InitBuffer(l0b_, kWide / kSide * kTile * sizeof(half));
    pipe_.InitBuffer(l0c_, kWide / kSide * kTile * sizeof(float));
    pipe_.InitBuffer(bt_, kSide * sizeof(float));
    pipe_.InitBuffer(fb_, kTile * sizeof(half));
    one_ = l1_.GetWithOffset<half>(kTile, 0);
    two_ = l1_.GetWithOffset<half>(kTile, kTile * sizeof(float));
    wide_ = l1_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
    a_ = l0a_.Get<half>();
    b_ = l0b_.Get<half>();
    c_ = l0c_.Get<float>();
    bias_ = bt_.Get<float>();
    scales_ = fb_.Get<uint64_t>();
    narrow_z_.SetGlobalBuffer((__gm__ half*)z_.GetPhyAddr(0), kTile);
    load_.repeatTimes = 1;
    load_.srcStride = 1;
    mmad_.m = mmad_.n = mmad_.k = kSide;
    store_.nSize = store_.mSize = store_.srcStride = store_.dstStride = kSide;
    narrow_ = store_;
    narrow_.quantPre = QuantMode_t::F322F16;
  }

  __aicore__ inline void Prepare() {
    DataCopy(one_, in_, kTile);
    DataCopy(two_, in_, kTile);
    PipeBarrier<PIPE_ALL>();
    LoadData(b_, two_, load_);
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void LoadMultiplyStore() {
    DataCopy(one_, in_, kTile);
    Edge<HardEvent::MTE2_MTE1>(fault_ != 1);
    LoadData(a_, one_, load_);  // fault 1: hazard_raw
    Edge<HardEvent::MTE1_MTE2>(fault_ != 2);
    PipeBarrier<PIPE_MTE2>();
    DataCopy(one_, in_, kTile);  // fault 2: hazard_war
    Edge<HardEvent::MTE1_M>(fault_ != 3);
    Mmad(c_, a_, b_, mmad_);  // fault 3: hazard_raw
    Edge<HardEvent::M_MTE1>(fault_ != 4);
    PipeBarrier<PIPE_MTE1>();
    LoadData(a_, two_, load_);  // fault 4: hazard_war
    Edge<HardEvent::M_FIX>(fault_ != 5);
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 5: hazard_raw
    Edge<HardEvent::MTE1_M>(true);
    PipeBarrier<PIPE_M>();
    Edge<HardEvent::FIX_M>(fault_ != 6);
    Mmad(c_, a_, b_, mmad_);  // fault 6: hazard_war
    PipeBarrier<PIPE_ALL>();
  }

  // Rows that fill no fractal do not count: 4 x 256 is below the bound, 16 x 160 is not.
  __aicore__ inline void AccumulateWide() {
    LoadData(b_, two_, LoadData2DParams(0, kWide / kSide, 0, 0, 0, false, 0));
    PipeBarrier<PIPE_ALL>();
    MmadParams more = mmad_;
    more.n = 160;
    Mmad(c_, a_, b_, more);
    more.cmatrixInitVal = false;
    Mmad(c_, a_, b_, more);
    PipeBarrier<PIPE_ALL>();
    more.m = 4;
    more.n = kWide;
    more.cmatrixInitVal = true;
    Mmad(c_, a_, b_, more);
    if (fault_ != 47) PipeBarrier<PIPE_M>();
    more.cmatrixInitVal = false;
    Mmad(c_, a_, b_, more);  // fault 47: hazard_raw
    PipeBarrier<PIPE_ALL>();
    Mmad(c_, a_, b_, mmad_);
    PipeBarrier<PIPE_ALL>();
  }

  // One 16 x 16 tile is below the ten fractals from which the cube orders accumulation itself.
  __aicore__ inline void Accumulate() {
    Mmad(c_, a_, b_, mmad_);
    if (fault_ != 7) PipeBarrier<PIPE_M>();
    MmadParams more = mmad_;
    more.cmatrixInitVal = false;
    Mmad(c_, a_, b_, more);  // fault 7: hazard_raw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void ThroughL1() {
    LoadData(a_, two_, load_);
    Edge<HardEvent::MTE1_FIX>(fault_ != 8);
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);  // fault 8: hazard_war
    Edge<HardEvent::FIX_MTE1>(fault_ != 9);
    LoadData(b_, two_, load_);  // fault 9: hazard_raw
    PipeBarrier<PIPE_ALL>();
    DataCopy(two_, in_, kTile);
    Edge<HardEvent::MTE2_FIX>(fault_ != 10);
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);  // fault 10: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void StraightToL0() {
    LoadData(a_, in_, load_);
    Edge<HardEvent::MTE2_M>(fault_ != 11);
    Mmad(c_, a_, b_, mmad_);  // fault 11: hazard_raw
    Edge<HardEvent::M_MTE2>(fault_ != 12);
    PipeBarrier<PIPE_MTE2>();
    LoadData(a_, in_, load_);  // fault 12: hazard_war
    PipeBarrier<PIPE_ALL>();
  }

  // The same bytes of GM by both directions.
  __aicore__ inline void ReadBack() {
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);
    Edge<HardEvent::FIX_MTE2>(fault_ != 13);
    DataCopy(wide_, z_, kTile);  // fault 13: hazard_raw
    Edge<HardEvent::MTE2_FIX>(fault_ != 14);
    PipeBarrier<PIPE_FIX>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 14: hazard_war
    if (fault_ != 15) PipeBarrier<PIPE_FIX>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 15: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void FromL1ToGm() {
    DataCopy(wide_, z_, kTile);
    Edge<HardEvent::MTE2_MTE3>(fault_ != 16);
    DataCopy(z_, wide_, DataCopyParams(1, kTile / 8, 0, 0));  // fault 16: hazard_raw
    Edge<HardEvent::MTE3_MTE2>(fault_ != 17);
    DataCopy(wide_, z_, kTile);  // fault 17: hazard_raw
    PipeBarrier<PIPE_ALL>();
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);
    Edge<HardEvent::FIX_MTE3>(fault_ != 18);
    DataCopy(narrow_z_, two_, DataCopyParams(1, kTile / 16, 0, 0));  // fault 18: hazard_raw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Bias() {
    DataCopy(bias_, wide_, DataCopyParams(1, kSide / 16, 0, 0));
    Edge<HardEvent::MTE1_M>(fault_ != 19);
    MmadParams p = mmad_;
    p.cmatrixSource = true;
    p.cmatrixInitVal = false;
    Mmad(c_, a_, b_, bias_, p);  // fault 19: hazard_raw
    Edge<HardEvent::M_MTE1>(fault_ != 20);
    PipeBarrier<PIPE_MTE1>();
    DataCopy(bias_, wide_, DataCopyParams(1, kSide / 16, 0, 0));  // fault 20: hazard_war
    if (fault_ != 21) PipeBarrier<PIPE_MTE1>();
    DataCopy(bias_, wide_, DataCopyParams(1, kSide / 16, 0, 0));  // fault 21: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  // No event leads from MTE3 to FIX: the way is over MTE2.
  __aicore__ inline void OverwriteL1() {
    DataCopy(two_, in_, kTile);
    if (fault_ != 22) PipeBarrier<PIPE_MTE2>();
    DataCopy(two_, in_, kTile);  // fault 22: hazard_waw
    PipeBarrier<PIPE_ALL>();
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);
    if (fault_ != 23) PipeBarrier<PIPE_FIX>();
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);  // fault 23: hazard_waw
    Edge<HardEvent::FIX_MTE2>(fault_ != 24);
    DataCopy(two_, in_, kTile);  // fault 24: hazard_waw
    PipeBarrier<PIPE_ALL>();
    DataCopy(narrow_z_, two_, DataCopyParams(1, kTile / 16, 0, 0));
    Edge<HardEvent::MTE3_MTE2>(fault_ != 25);
    DataCopy(two_, in_, kTile);  // fault 25: hazard_war
    PipeBarrier<PIPE_ALL>();
    DataCopy(narrow_z_, two_, DataCopyParams(1, kTile / 16, 0, 0));
    Edge<HardEvent::MTE3_MTE2>(fault_ != 26);
    Edge<HardEvent::MTE2_FIX>(fault_ != 26);
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);  // fault 26: hazard_war
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void L1ToFixpipeBuffer() {
    const LocalTensor<uint64_t> from = two_.ReinterpretCast<uint64_t>();
    const DataCopyParams all(1, kTile * sizeof(half) / 128, 0, 0);
    DataCopy(two_, in_, kTile);
    Edge<HardEvent::MTE2_FIX>(fault_ != 27);
    DataCopy(scales_, from, all);  // fault 27: hazard_raw
    if (fault_ != 28) PipeBarrier<PIPE_FIX>();
    DataCopy(scales_, from, all);  // fault 28: hazard_waw
    PipeBarrier<PIPE_MTE2>();
    Edge<HardEvent::FIX_MTE2>(fault_ != 29);
    DataCopy(two_, in_, kTile);  // fault 29: hazard_war
    PipeBarrier<PIPE_ALL>();
    DataCopy(scales_, from, all);
    if (fault_ != 30) PipeBarrier<PIPE_FIX>();
    Fixpipe<half, float, CFG_NZ>(two_, c_, narrow_);  // fault 30: hazard_war
    if (fault_ != 31) PipeBarrier<PIPE_FIX>();
    DataCopy(scales_, from, all);  // fault 31: hazard_raw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void OverwriteL0() {
    LoadData(a_, one_, load_);
    if (fault_ != 32) PipeBarrier<PIPE_MTE1>();
    LoadData(a_, one_, load_);  // fault 32: hazard_waw
    Edge<HardEvent::MTE1_MTE2>(fault_ != 33);
    LoadData(a_, in_, load_);  // fault 33: hazard_waw
    if (fault_ != 34) PipeBarrier<PIPE_MTE2>();
    LoadData(a_, in_, load_);  // fault 34: hazard_waw
    Edge<HardEvent::MTE2_MTE1>(fault_ != 35);
    LoadData(a_, one_, load_);  // fault 35: hazard_waw
    PipeBarrier<PIPE_ALL>();
    MmadParams more = mmad_;
    more.cmatrixInitVal = false;
    Mmad(c_, a_, b_, more);
    if (fault_ != 36) PipeBarrier<PIPE_M>();
    Mmad(c_, a_, b_, mmad_);  // fault 36: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void OverwriteGm() {
    const DataCopyParams all(1, kTile / 8, 0, 0);
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);
    Edge<HardEvent::FIX_MTE3>(fault_ != 37);
    DataCopy(z_, wide_, all);  // fault 37: hazard_waw
    if (fault_ != 38) PipeBarrier<PIPE_MTE3>();
    DataCopy(z_, wide_, all);  // fault 38: hazard_waw
    Edge<HardEvent::MTE3_MTE2>(fault_ != 39);
    Edge<HardEvent::MTE2_FIX>(fault_ != 39);
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 39: hazard_waw
    PipeBarrier<PIPE_ALL>();
  }

  // GM by the scalar unit; SetValue is ordered by the clean behind it, and no event leads from S to FIX.
  __aicore__ inline void Scalar() {
    const DataCopyParams all(1, kTile / 8, 0, 0);
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);
    Edge<HardEvent::FIX_S>(fault_ != 40);
    float value = z_.GetValue(0);  // fault 40: scalar
    Edge<HardEvent::S_MTE3>(fault_ != 41);
    DataCopy(z_, wide_, all);  // fault 41: scalar
    Edge<HardEvent::MTE3_S>(fault_ != 42);
    value += z_.GetValue(1 + kLine);  // fault 42: scalar
    if (fault_ != 43) PipeBarrier<PIPE_ALL>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(z_, c_, store_);  // fault 43: scalar
    Edge<HardEvent::FIX_S>(fault_ != 44);
    z_.SetValue(2 * kLine, value);  // fault 44: scalar
    Clean(2 * kLine);
    DataCopy(wide_, z_, kTile);
    Edge<HardEvent::MTE2_S>(fault_ != 45);
    z_.SetValue(2 * kLine, value);  // fault 45: scalar
    Clean(2 * kLine);
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_, wide_, all);
    Edge<HardEvent::MTE3_S>(fault_ != 46);
    z_.SetValue(2 * kLine, value);  // fault 46: scalar
    Clean(2 * kLine);
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Clean(uint64_t at) {
    DataCacheCleanAndInvalid<float, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(z_[at]);
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bt_;
  TBuf<TPosition::C2PIPE2GM> fb_;
  GlobalTensor<half> in_, narrow_z_;
  GlobalTensor<float> z_;
  LocalTensor<half> one_, two_, a_, b_;
  LocalTensor<float> wide_, c_, bias_;
  LocalTensor<uint64_t> scales_;
  LoadData2DParams load_;
  MmadParams mmad_;
  FixpipeParamsV220 store_, narrow_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_hazard_cube(GM_ADDR a, GM_ADDR z, GM_ADDR workspace,
                                                         GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIC {
    HazardCube op;
    op.Run(a, z, data);
  }
}
