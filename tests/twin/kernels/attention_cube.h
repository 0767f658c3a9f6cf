// SPDX-License-Identifier: Apache-2.0
// Cube half of the attention kernel: S = Q K^T and O = P V, one step ahead of the vector cores.
#pragma once

#include "attention_shapes.h"

class AttentionCube {
 public:
  __aicore__ inline void Run(GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR ws,
                             const AttentionTiling& t) {
    t_ = t;
    query_.SetGlobalBuffer((__gm__ half*)query);
    key_.SetGlobalBuffer((__gm__ half*)key);
    value_.SetGlobalBuffer((__gm__ half*)value);
    rings_.base = ws + AscendC::GetBlockIdx() * kBlockBytes;
    Buffers();
    Idle<true>();
    for (uint32_t i = AscendC::GetBlockIdx(); i < TaskCount(t_); i += AscendC::GetBlockNum())
      Tile(Task(t_, i));
    Idle<false>();
  }

 private:
  // Events: one id for each L1 tile; L0A and L0B are handed over together; L0C by tile.
  static constexpr int32_t kKeyTile = 0, kValueTile = 2, kProbTile = 4, kQueryTile = 5;
  static constexpr int32_t kL0 = 3;  // TPipe keeps M_MTE1 0 to 2 for itself
  static constexpr int32_t kScore = 0, kOut = 1;

  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(l1_, (kRows * kDim + 2 * kKeys * kDim + 2 * kKeys * kValueDim + kRows * kKeys) * 2);
    pipe_.InitBuffer(l0a_, kRows * kDim * 2);
    pipe_.InitBuffer(l0b_, kKeys * kDim * 2);
    pipe_.InitBuffer(l0c_, kRows * (kKeys + kValueDim) * 4);
    AscendC::LocalTensor<half> l1 = l1_.Get<half>();
    queryTile_ = l1;
    for (uint32_t i = 0; i < 2; ++i) keyTile_[i] = l1[kRows * kDim + i * kKeys * kDim];
    AscendC::LocalTensor<half> rest = l1[kRows * kDim + 2 * kKeys * kDim];
    for (uint32_t i = 0; i < 2; ++i) valueTile_[i] = rest[i * kKeys * kValueDim];
    probTile_ = rest[2 * kKeys * kValueDim];
  }

  // Every tile starts free; at the end every flag is taken back.
  template <bool first>
  __aicore__ inline void Idle() {
    for (int32_t i = 0; i < 6; ++i) Free<AscendC::HardEvent::MTE1_MTE2, first>(i);
    Free<AscendC::HardEvent::M_MTE1, first>(kL0);
    Free<AscendC::HardEvent::FIX_M, first>(kScore);
    Free<AscendC::HardEvent::FIX_M, first>(kOut);
  }
  template <AscendC::HardEvent event, bool set>
  __aicore__ inline void Free(int32_t id) {
    if (set) {
      AscendC::SetFlag<event>(id);
    } else {
      AscendC::WaitFlag<event>(id);
    }
  }

  __aicore__ inline void Tile(const Task& task) {
    const uint32_t steps = t_.keys / kKeys;
    LoadQuery(task);
    Scores(task, 0, done_);
    for (uint32_t j = 0; j < steps; ++j) {
      if (j + 1 < steps) Scores(task, j + 1, done_ + j + 1);
      AscendC::CrossCoreWaitFlag(kProbReady);
      Output(task, j, done_ + j);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kQueryTile);
    done_ += steps;
  }

  // Rows of a token's heads are contiguous; tokens lie kv_heads * group rows apart.
  __aicore__ inline void LoadQuery(const Task& task) {
    const uint32_t heads = t_.kv_heads * t_.group;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kQueryTile);
    AscendC::Nd2NzParams p(kRows / t_.group, t_.group, kDim, heads * kDim, kDim, kRows, 1, t_.group * 16);
    AscendC::DataCopy(queryTile_, query_[(uint64_t{task.token} * heads + task.head * t_.group) * kDim], p);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kQueryTile);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kQueryTile);
  }

  __aicore__ inline void LoadKeys(const AscendC::LocalTensor<half>& to,
                                  const AscendC::GlobalTensor<half>& from, uint32_t width, int32_t event) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(event);
    AscendC::DataCopy(to, from, AscendC::Nd2NzParams(1, kKeys, width, 0, t_.kv_heads * width, kKeys, 1, 0));
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(event);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(event);
  }

  // zN rows of L1 to zZ in L0A.
  __aicore__ inline void LoadLeft(const AscendC::LocalTensor<half>& from, uint32_t width) {
    AscendC::LoadData2DParams p(0, width / 16, kRows / 16, 0, 0, false, 0);
    for (uint32_t i = 0; i < kRows / 16; ++i)
      AscendC::LoadData(l0a_.Get<half>()[i * width * 16], from[i * 256], p);
  }

  __aicore__ inline void Multiply(const AscendC::LocalTensor<float>& c, uint32_t n, uint32_t k,
                                  int32_t tile) {
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(0);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(0);
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(tile);
    AscendC::MmadParams p;
    p.m = kRows;
    p.n = n;
    p.k = k;
    AscendC::Mmad(c, l0a_.Get<half>(), l0b_.Get<half>(), p);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(kL0);
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(tile);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(tile);
  }

  __aicore__ inline void Store(__gm__ float* to, const AscendC::LocalTensor<float>& c, uint32_t n,
                               int32_t tile) {
    AscendC::GlobalTensor<float> out;
    out.SetGlobalBuffer(to, kRows * n);
    AscendC::FixpipeParamsV220 p;
    p.nSize = n;
    p.mSize = kRows;
    p.srcStride = kRows;
    p.dstStride = n;
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(out, c, p);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(tile);
  }

  __aicore__ inline void Scores(const Task& task, uint32_t j, uint32_t step) {
    const uint32_t slot = step % 2;
    LoadKeys(keyTile_[slot], key_[(uint64_t{j} * kKeys * t_.kv_heads + task.head) * kDim], kDim,
             kKeyTile + slot);
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kL0);
    LoadLeft(queryTile_, kDim);
    // zN of K is nZ of its transpose.
    AscendC::LoadData(l0b_.Get<half>(), keyTile_[slot],
                      AscendC::LoadData2DParams(0, kKeys * kDim / 256, 1, 0, 0, false, 0));
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kKeyTile + slot);
    AscendC::LocalTensor<float> c = l0c_.Get<float>();
    Multiply(c, kKeys, kDim, kScore);
    Store(rings_.Score(step), c, kKeys, kScore);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoreReady);
  }

  __aicore__ inline void Output(const Task& task, uint32_t j, uint32_t step) {
    const uint32_t slot = step % 2;
    LoadKeys(valueTile_[slot], value_[(uint64_t{j} * kKeys * t_.kv_heads + task.head) * kValueDim], kValueDim,
             kValueTile + slot);
    AscendC::GlobalTensor<half> prob;
    prob.SetGlobalBuffer(rings_.Prob(step), kRows * kKeys);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kProbTile);
    AscendC::DataCopy(probTile_, prob, AscendC::Nd2NzParams(1, kRows, kKeys, 0, kKeys, kRows, 1, 0));
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kProbTile);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kProbTile);
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(kL0);
    LoadLeft(probTile_, kKeys);
    AscendC::LoadData2DParams p(0, kValueDim / 16, kKeys / 16, 0, 0, true, 0);
    for (uint32_t kb = 0; kb < kKeys / 16; ++kb) {
      AscendC::LoadData(l0b_.Get<half>()[kb * kValueDim * 16], valueTile_[slot][kb * 256], p);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kProbTile);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kValueTile + slot);
    AscendC::LocalTensor<float> c = l0c_.Get<float>()[kRows * kKeys];
    Multiply(c, kValueDim, kKeys, kOut);
    Store(rings_.Out(step), c, kValueDim, kOut);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kOutReady);
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::A1> l1_;
  AscendC::TBuf<AscendC::TPosition::A2> l0a_;
  AscendC::TBuf<AscendC::TPosition::B2> l0b_;
  AscendC::TBuf<AscendC::TPosition::CO1> l0c_;
  AscendC::LocalTensor<half> queryTile_, keyTile_[2], valueTile_[2], probTile_;
  AscendC::GlobalTensor<half> query_, key_, value_;
  AttentionTiling t_;
  Rings rings_;
  uint32_t done_ = 0;
};
