// SPDX-License-Identifier: Apache-2.0
// Cube and vector cores hand tiles to each other through GM in both directions; one flag is missing, wrong or
// too many, chosen by tiling. `fault N: rule` marks the line where fault N must be reported; fault 0 is
// correct.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kSide = 32, kTile = kSide * kSide, kHalf = kTile / 2, kRounds = 2;
constexpr uint16_t kReady = 0, kTaken = 1, kBack = 2, kPair = 4, kAll = 5;

class CubePart {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR ws, const FaultTiling& t) {
    fault_ = t.fault;
    in_.SetGlobalBuffer((__gm__ half*)a, kTile);
    GM_ADDR mine = ws + GetBlockIdx() * kTile * 6;
    there_.SetGlobalBuffer((__gm__ float*)mine, kTile);
    back_.SetGlobalBuffer((__gm__ half*)(mine + kTile * 4), kTile);
    pipe_.InitBuffer(l1_, Is(1) ? 524288 - 32 : kTile * sizeof(half));  // fault 1: capacity
    pipe_.InitBuffer(l0a_, kTile * sizeof(half));
    pipe_.InitBuffer(l0b_, kTile * sizeof(half));
    pipe_.InitBuffer(l0c_, kTile * sizeof(float));
    for (uint32_t round = 0; round < kRounds; ++round) Round(round);
    Extra();
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Round(uint32_t round) {
    Load(round == 0 ? in_ : back_);
    MmadParams m;
    m.m = m.n = m.k = kSide;
    LocalTensor<float> c = l0c_.Get<float>();
    Mmad(c, l0a_.Get<half>(), l0b_.Get<half>(), m);
    PipeBarrier<PIPE_ALL>();
    FixpipeParamsV220 f;
    f.nSize = f.mSize = f.srcStride = f.dstStride = kSide;
    Fixpipe<float, float, CFG_ROW_MAJOR>(there_, c, f);
    if (Is(3)) {
      CrossCoreSetFlag<2, PIPE_MTE2>(kReady);
    } else if (!Is(4)) {
      CrossCoreSetFlag<2, PIPE_FIX>(kReady);
    }
    if (!Is(2)) CrossCoreWaitFlag(kTaken);
    PipeBarrier<PIPE_FIX>();
    Fixpipe<float, float, CFG_ROW_MAJOR>(there_, c, f);
    if (!Is(5)) CrossCoreWaitFlag(kBack);  // fault 6: deadlock
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Load(const GlobalTensor<half>& from) {
    LocalTensor<half> l1 = l1_.Get<half>();
    const Nd2NzParams tile(1, kSide, kSide, 0, kSide, kSide, 1, 0);
    DataCopy(l1, from, tile);  // fault 5: gm_race  // fault 7: gm_race
    PipeBarrier<PIPE_ALL>();
    LoadData2DParams p(0, 4, 1, 0, 0, false, 0);
    LoadData(l0a_.Get<half>(), l1, p);
    LoadData(l0b_.Get<half>(), l1, p);
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Extra() {
    if (Is(8)) CrossCoreSetFlag<2, PIPE_FIX>(kReady);   // fault 8: cross_flag
    if (Is(9)) CrossCoreSetFlag<2, PIPE_FIX>(12);       // fault 9: cross_flag
    if (Is(10)) CrossCoreSetFlag<0, PIPE_FIX>(kReady);  // fault 10: cross_flag
    for (uint32_t i = 0; Is(11) && i < 16; ++i)
      CrossCoreSetFlag<2, PIPE_FIX>(kReady);           // fault 11: cross_flag
    if (Is(12)) CrossCoreSetFlag<2, PIPE_S>(kReady);   // fault 12: cross_flag
    if (Is(13)) CrossCoreSetFlag<1, PIPE_FIX>(kPair);  // fault 13: cross_flag
    if (Is(14)) CrossCoreSetFlag<2, PIPE_V>(kReady);   // fault 14: cross_flag
    if (Is(15)) CrossCoreWaitFlag(kPair);              // fault 15: deadlock
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  GlobalTensor<half> in_, back_;
  GlobalTensor<float> there_;
  uint32_t fault_ = 0;
};

class VectorPart {
 public:
  __aicore__ inline void Run(GM_ADDR z, GM_ADDR ws, const FaultTiling& t) {
    fault_ = t.fault;
    const uint32_t block = GetBlockIdx() / GetTaskRatio(), sub = GetSubBlockIdx();
    GM_ADDR mine = ws + block * kTile * 6;
    there_.SetGlobalBuffer((__gm__ float*)mine + sub * kHalf, kHalf);
    back_.SetGlobalBuffer((__gm__ half*)(mine + kTile * 4) + sub * kHalf, kHalf);
    z_.SetGlobalBuffer((__gm__ float*)z, 2 * GetBlockNum() * kHalf);
    pipe_.InitBuffer(buffer_, Is(16) ? 196608 : kHalf * 8);  // fault 16: capacity
    in_ = buffer_.GetWithOffset<float>(kHalf, 0);
    out_ = buffer_.GetWithOffset<half>(kHalf, kHalf * 4);
    for (uint32_t round = 0; round < kRounds; ++round) Round(sub);
    Neighbours(block, sub);
    if (Is(15)) CrossCoreWaitFlag(kPair);
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Round(uint32_t sub) {
    if (!Is(4)) CrossCoreWaitFlag(kReady);
    DataCopy(in_, there_, kHalf);  // fault 2: gm_race  // fault 3: gm_race  // fault 4: gm_race
    CrossCoreSetFlag<2, PIPE_MTE2>(kTaken);
    PipeBarrier<PIPE_ALL>();
    Cast(out_, in_, RoundMode::CAST_RINT, kHalf);
    PipeBarrier<PIPE_ALL>();
    DataCopy(back_, out_, kHalf);
    if (Is(7)) {
      CrossCoreSetFlag<2, PIPE_MTE2>(kBack);
    } else if (!(Is(6) && sub == 1) && !Is(5)) {
      CrossCoreSetFlag<2, PIPE_MTE3>(kBack);
    }
    PipeBarrier<PIPE_ALL>();
  }

  // Mode 1: the two vector cores of a block; mode 0: the vector cores of all blocks.
  __aicore__ inline void Neighbours(uint32_t block, uint32_t sub) {
    const uint32_t core = 2 * block + sub, pair = 2 * block + 1 - sub;
    const uint32_t next = (core + 2) % (2 * GetBlockNum());
    DataCopy(z_[core * kHalf], in_, kHalf);  // fault 17: gm_race  // fault 18: gm_race
    if (!Is(17)) CrossCoreSetFlag<1, PIPE_MTE3>(kPair);
    if (!Is(17)) CrossCoreWaitFlag(kPair);
    PipeBarrier<PIPE_ALL>();
    DataCopy(in_, z_[pair * kHalf], kHalf);  // fault 17: gm_race
    PipeBarrier<PIPE_ALL>();
    if (!Is(18)) CrossCoreSetFlag<0, PIPE_MTE3>(kAll);  // fault 19: block_dim
    if (!Is(18)) CrossCoreWaitFlag(kAll);
    DataCopy(in_, z_[next * kHalf], kHalf);  // fault 18: gm_race
    PipeBarrier<PIPE_ALL>();
  }

  TPipe pipe_;
  TBuf<TPosition::VECIN> buffer_;
  GlobalTensor<float> there_, z_;
  GlobalTensor<half> back_;
  LocalTensor<float> in_;
  LocalTensor<half> out_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_cross(GM_ADDR a, GM_ADDR z, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  GM_ADDR user = GetUserWorkspace(workspace);
  if ASCEND_IS_AIC {
    CubePart part;
    part.Run(a, user, data);
  }
  if ASCEND_IS_AIV {
    VectorPart part;
    part.Run(z, user, data);
  }
}
