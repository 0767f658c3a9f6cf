// SPDX-License-Identifier: Apache-2.0
// The AIV's half of the gradient: index and deltas, weights, sums of one segment after the other.
#pragma once

#include "grad_weights.h"

namespace ms_nsa {

template <class T, class Rule>
class GradVector {
 public:
  __aicore__ inline GradVector(const AttentionParams& params, const GradAddresses& gm,
                               const typename Rule::Source& source, AscendC::TPipe& pipe)
      : p_(params),
        source_(source),
        side_(params, gm, source_, ub_),
        weights_(params, gm, source_, ub_, side_) {
    dk_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dk));
    dv_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dv));
    ub_.Init(pipe, kInBytes, kOutBytes);
  }

  __aicore__ inline void Run() {
    Clear(dk_, p_.kv_rows * p_.kv_heads * p_.d1);
    Clear(dv_, p_.kv_rows * p_.kv_heads * p_.d2);
    typename Rule::Segments segments(p_, source_);
    Segment segment{}, before{}, after{};
    int64_t number = 0;
    side_.Open();
    bool more = segments.Next(segment);
    if (more) side_.Prepare(segment);
    for (; more; ++number, before = segment, segment = after) {
      more = segments.Next(after);
      side_.Plan(number, number > 0 ? &before : nullptr, more ? &after : nullptr);
      weights_.Run(segment, number);
    }
    if (number > 0) side_.SumLast(before);
    side_.Close();
  }

 private:
  static constexpr int32_t kZeros = 16384;  // elements
  static constexpr int32_t kInBytes = GradWeights<T, Rule>::kInBytes,
                           kOutBytes = GradWeights<T, Rule>::kOutBytes;
  using Side = SideWork<T, Rule>;
  static_assert(Side::kMostInBytes <= kInBytes && Side::kMostOutBytes <= kOutBytes, "index and search");
  static_assert(kInBytes + kOutBytes <= kUbBytes && kZeros * 2 <= kOutBytes, "UB");

  // Rows of keys and values that no segment of tokens reaches are nobody's to write later.
  __aicore__ inline void Clear(const AscendC::GlobalTensor<T>& out, int64_t elements) {
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, core = AscendC::GetBlockIdx();
    const int64_t blocks = elements / 16, end = Quota(blocks, core + 1, cores) * 16;
    const AscendC::LocalTensor<T> zeros = ub_.Out<T>(0, kZeros);
    AscendC::Duplicate(zeros.template ReinterpretCast<half>(), static_cast<half>(0.0f), kZeros);
    AscendC::PipeBarrier<PIPE_ALL>();
    for (int64_t at = Quota(blocks, core, cores) * 16; at < end; at += kZeros) {
      AscendC::DataCopy(out[at], zeros, Min<int64_t>(end - at, kZeros));
    }
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  const AttentionParams& p_;
  const typename Rule::Source& source_;
  UnifiedBuffer ub_;
  SideWork<T, Rule> side_;
  GradWeights<T, Rule> weights_;
  AscendC::GlobalTensor<T> dk_, dv_;
};

}  // namespace ms_nsa
