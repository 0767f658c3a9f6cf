// SPDX-License-Identifier: Apache-2.0
// The AIV's half of the gradient: index and deltas, weights, sums of one segment after the other.
#pragma once

#include "grad_sums.h"
#include "row_dots.h"

namespace ms_nsa {

template <class T, class Rule>
class GradVector {
 public:
  __aicore__ inline GradVector(const AttentionParams& params, const GradAddresses& gm,
                               const typename Rule::Source& source, AscendC::TPipe& pipe)
      : p_(params),
        workspace_(gm.workspace),
        source_(source),
        builder_(params, gm, ub_),
        dots_(params, gm, source_, ub_),
        weights_(params, gm, ub_),
        sums_(params, gm, source_, ub_) {
    dk_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dk));
    dv_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dv));
    ub_.Init(pipe, kInBytes, kOutBytes);
  }

  // While the tiles of a segment are worked on, the sums of the one before are made. One meeting of all cores
  // a segment: then its index is complete, and so are the parts of the one before.
  __aicore__ inline void Run() {
    Clear(dk_, p_.kv_rows * p_.kv_heads * p_.d1);
    Clear(dv_, p_.kv_rows * p_.kv_heads * p_.d2);
    typename Rule::Segments segments(p_, source_);
    Segment segment{}, before{};
    const int64_t core = AscendC::GetBlockIdx() / kVectorCores;
    int64_t number = 0;
    sums_.Open();
    for (; segments.Next(segment); ++number) {
      const GradExchange<T> exchange(p_, workspace_, core, number),
          last(p_, workspace_, core, Max<int64_t>(number - 1, 0));
      builder_.Build(segment, exchange.index);
      dots_.Run(segment, exchange);
      AscendC::SyncAll<false>();
      exchange.index.Invalidate();
      if (number > 0) sums_.Start(before, last);
      weights_.Run(source_, segment, Rule::IndexOf(source_, segment, exchange.index), exchange, sums_);
      sums_.Finish();
      before = segment;
    }
    AscendC::SyncAll<false>();
    if (number > 0) {
      const GradExchange<T> last(p_, workspace_, core, number - 1);
      sums_.Start(before, last);
      sums_.Finish();
    }
    sums_.Close();
  }

 private:
  static constexpr int32_t kZeros = 16384;  // elements
  // Index and deltas take turns with tiles and sums.
  static constexpr int32_t kInBytes = GradSums<T, Rule>::kInBytes, kOutBytes = GradSums<T, Rule>::kOutBytes;
  using Builder = typename Rule::Builder;
  static_assert(Builder::kInBytes <= kInBytes && Builder::kOutBytes <= kOutBytes, "index");
  static_assert(RowDots<T, Rule>::kInBytes <= kInBytes && RowDots<T, Rule>::kOutBytes <= kOutBytes, "deltas");
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
  GM_ADDR workspace_;
  const typename Rule::Source& source_;
  UnifiedBuffer ub_;
  typename Rule::Builder builder_;
  RowDots<T, Rule> dots_;
  GradWeights<T, Rule> weights_;
  GradSums<T, Rule> sums_;
  AscendC::GlobalTensor<T> dk_, dv_;
};

}  // namespace ms_nsa
