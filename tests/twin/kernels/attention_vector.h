// SPDX-License-Identifier: Apache-2.0
// Vector half of the attention kernel: online softmax over the key steps, each core half of the rows.
#pragma once

#include "attention_shapes.h"

class AttentionVector {
 public:
  __aicore__ inline void Run(GM_ADDR out, GM_ADDR ws, const AttentionTiling& t) {
    t_ = t;
    out_.SetGlobalBuffer((__gm__ half*)out, uint64_t{t.tokens} * t.kv_heads * t.group * kValueDim);
    const uint32_t block = AscendC::GetBlockIdx() / AscendC::GetTaskRatio();
    rings_.base = ws + block * kBlockBytes;
    Buffers();
    for (int32_t i = 0; i < 4; ++i) AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(i);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(0);
    for (uint32_t i = block; i < TaskCount(t_); i += AscendC::GetBlockNum()) Tile(Task(t_, i));
    for (int32_t i = 0; i < 4; ++i) AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(i);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(0);
  }

 private:
  static constexpr uint32_t kMine = kRows / 2, kScores = kMine * kKeys, kOuts = kMine * kValueDim;
  static constexpr int32_t kScore = 0, kOut = 2;  // event ids of the two slots each

  __aicore__ inline void Buffers() {
    pipe_.InitBuffer(scores_, 2 * kScores * 4);
    pipe_.InitBuffer(outs_, 2 * kOuts * 4);
    pipe_.InitBuffer(sum_, kOuts * 4);
    pipe_.InitBuffer(narrow_, kOuts * 2);
    pipe_.InitBuffer(fold_, kMine * 64 * 4);
    pipe_.InitBuffer(stats_, (6 * kMine + 8 * kMine) * 4);
    AscendC::LocalTensor<float> s = stats_.Get<float>();
    max_ = s;
    norm_ = s[kMine];
    next_ = s[2 * kMine];
    part_ = s[3 * kMine];
    for (uint32_t i = 0; i < 2; ++i) alpha_[i] = s[(4 + i) * kMine];
    spread_ = s[6 * kMine];
  }

  __aicore__ inline void Tile(const Task& task) {
    const uint32_t steps = t_.keys / kKeys;
    AscendC::Duplicate(max_, -1.0e30f, static_cast<int32_t>(kMine));
    AscendC::Duplicate(norm_, 0.0f, static_cast<int32_t>(kMine));
    AscendC::Duplicate(sum_.Get<float>(), 0.0f, static_cast<int32_t>(kOuts));
    for (uint32_t j = 0; j < steps; ++j) {
      Softmax(done_ + j);
      if (j > 0) Accumulate(done_ + j - 1);
    }
    Accumulate(done_ + steps - 1);
    done_ += steps;
    Store(task);
  }

  __aicore__ inline void Load(const AscendC::LocalTensor<float>& to, __gm__ float* from, uint32_t count,
                              int32_t event) {
    AscendC::GlobalTensor<float> source;
    source.SetGlobalBuffer(from + AscendC::GetSubBlockIdx() * count, count);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(event);
    AscendC::DataCopy(to, source, count);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(event);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(event);
  }

  // max_ becomes the running maximum, alpha the factor for what was summed before, s the exponentials.
  __aicore__ inline void Softmax(uint32_t step) {
    using namespace AscendC;
    const uint32_t slot = step % 2;
    LocalTensor<float> s = scores_.Get<float>()[slot * kScores], fold = fold_.Get<float>();
    CrossCoreWaitFlag(kScoreReady);
    Load(s, rings_.Score(step), kScores, kScore + slot);
    Muls(s, s, t_.scale, static_cast<int32_t>(kScores));
    PipeBarrier<PIPE_V>();
    Max(fold, s, s[64], uint64_t{64}, kMine, BinaryRepeatParams(1, 1, 1, 8, 16, 16));
    PipeBarrier<PIPE_V>();
    WholeReduceMax(part_, fold, 64, kMine, 1, 1, 8, ReduceOrder::ORDER_ONLY_VALUE);
    PipeBarrier<PIPE_V>();
    Max(next_, max_, part_, static_cast<int32_t>(kMine));
    PipeBarrier<PIPE_V>();
    Sub(alpha_[slot], max_, next_, static_cast<int32_t>(kMine));
    PipeBarrier<PIPE_V>();
    Exp(alpha_[slot], alpha_[slot], static_cast<int32_t>(kMine));
    Adds(max_, next_, 0.0f, static_cast<int32_t>(kMine));
    Spread(next_);
    for (uint32_t h = 0; h < kKeys; h += 64)
      Sub(s[h], s[h], spread_, uint64_t{64}, kMine, BinaryRepeatParams(1, 1, 0, 16, 16, 1));
    PipeBarrier<PIPE_V>();
    Exp(s, s, static_cast<int32_t>(kScores));
    PipeBarrier<PIPE_V>();
    Normalise(s, fold, slot);
    StoreProbabilities(s, step);
    SetFlag<HardEvent::V_MTE2>(kScore + slot);
  }

  __aicore__ inline void Normalise(const AscendC::LocalTensor<float>& s,
                                   const AscendC::LocalTensor<float>& fold, uint32_t slot) {
    using namespace AscendC;
    Add(fold, s, s[64], uint64_t{64}, kMine, BinaryRepeatParams(1, 1, 1, 8, 16, 16));
    PipeBarrier<PIPE_V>();
    WholeReduceSum(part_, fold, 64, kMine, 1, 1, 8);
    Mul(norm_, norm_, alpha_[slot], static_cast<int32_t>(kMine));
    PipeBarrier<PIPE_V>();
    Add(norm_, norm_, part_, static_cast<int32_t>(kMine));
  }

  __aicore__ inline void StoreProbabilities(const AscendC::LocalTensor<float>& s, uint32_t step) {
    using namespace AscendC;
    LocalTensor<half> p = narrow_.Get<half>();
    WaitFlag<HardEvent::MTE3_V>(0);
    Cast(p, s, RoundMode::CAST_RINT, kScores);
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    GlobalTensor<half> to;
    to.SetGlobalBuffer(rings_.Prob(step) + GetSubBlockIdx() * kScores, kScores);
    DataCopy(to, p, kScores);
    SetFlag<HardEvent::MTE3_V>(0);
    CrossCoreSetFlag<2, PIPE_MTE3>(kProbReady);
  }

  __aicore__ inline void Spread(const AscendC::LocalTensor<float>& stat) {
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Brcb(spread_, stat, kMine / 8, AscendC::BrcbRepeatParams(1, 8));
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void Accumulate(uint32_t step) {
    using namespace AscendC;
    const uint32_t slot = step % 2;
    LocalTensor<float> o = outs_.Get<float>()[slot * kOuts], sum = sum_.Get<float>();
    CrossCoreWaitFlag(kOutReady);
    Load(o, rings_.Out(step), kOuts, kOut + slot);
    Spread(alpha_[slot]);
    for (uint32_t h = 0; h < kValueDim; h += 64)
      Mul(sum[h], sum[h], spread_, uint64_t{64}, kMine, BinaryRepeatParams(1, 1, 0, 16, 16, 1));
    PipeBarrier<PIPE_V>();
    Add(sum, sum, o, static_cast<int32_t>(kOuts));
    SetFlag<HardEvent::V_MTE2>(kOut + slot);
    PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void Store(const Task& task) {
    using namespace AscendC;
    LocalTensor<float> sum = sum_.Get<float>();
    LocalTensor<half> result = narrow_.Get<half>();
    Spread(norm_);
    for (uint32_t h = 0; h < kValueDim; h += 64)
      Div(sum[h], sum[h], spread_, uint64_t{64}, kMine, BinaryRepeatParams(1, 1, 0, 16, 16, 1));
    PipeBarrier<PIPE_V>();
    WaitFlag<HardEvent::MTE3_V>(0);
    Cast(result, sum, RoundMode::CAST_RINT, kOuts);
    PipeBarrier<PIPE_V>();
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    const uint32_t heads = t_.kv_heads * t_.group, tokens = kMine / t_.group;
    const uint64_t token = task.token + static_cast<uint64_t>(GetSubBlockIdx()) * tokens;
    const uint64_t row = token * heads + task.head * t_.group;
    DataCopyExtParams p;
    p.blockCount = tokens;
    p.blockLen = t_.group * kValueDim * 2;
    p.dstStride = (heads - t_.group) * kValueDim * 2;
    DataCopyPad(out_[row * kValueDim], result, p);
    SetFlag<HardEvent::MTE3_V>(0);
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECIN> scores_, outs_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> sum_, fold_, stats_;
  AscendC::TBuf<AscendC::TPosition::VECOUT> narrow_;
  AscendC::LocalTensor<float> max_, norm_, next_, part_, alpha_[2], spread_;
  AscendC::GlobalTensor<half> out_;
  AttentionTiling t_;
  Rings rings_;
  uint32_t done_ = 0;
};
