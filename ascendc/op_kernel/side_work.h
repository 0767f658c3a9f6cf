// SPDX-License-Identifier: Apache-2.0
// What the AIVs of the gradient do beside the tiles of a segment: the sums of the segment before, then the
// deltas of the one after. Cores do not meet between segments: an AIV tells the others when it is prepared
// for the next one, and when its AIC has done with one, and waits for either where it needs it.
#pragma once

#include "grad_sums.h"
#include "row_dots.h"

namespace ms_nsa {

template <class T, class Rule>
class SideWork {
  using Builder = typename Rule::Builder;

 public:
  __aicore__ inline SideWork(const AttentionParams& params, const GradAddresses& gm,
                             const typename Rule::Source& source, UnifiedBuffer& ub)
      : p_(params),
        workspace_(gm.workspace),
        buffers_(ub),
        sums_(params, gm, source, buffers_),
        dots_(params, gm, source, ub, buffers_),
        builder_(params, gm, ub) {}

  // The segment of tiles that comes next, and those around it that there are.
  __aicore__ inline void Plan(int64_t number, const Segment* before, const Segment* after) {
    number_ = number;
    before_ = before;
    after_ = after;
  }

  __aicore__ inline void Open() { buffers_.Open(); }
  __aicore__ inline void Close() { buffers_.Close(); }

  // All that the first segment needs.
  __aicore__ inline void Prepare(const Segment& first) {
    Dot(first, 0);
    Finish();
  }

  // Finishes what is beside the segment of before and begins what was planned. From here on what others have
  // made may be read, and what they needed be written.
  __aicore__ inline void Begin() {
    Finish();
    AscendC::CrossCoreWaitFlag(kPrepared);
    if (NeedsIndex()) {
      ExchangeOf(number_).index.Invalidate();
      AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kIndexReady);
    }
    if (before_ != nullptr) Sum(*before_, number_ - 1);
    if (after_ != nullptr) Dot(*after_, number_ + 1);
  }

  // Whether the statistics' gradients put anything on the segment's largest scores.
  __aicore__ inline bool FoundTops() { return HasStatisticsGrad(p_) && dots_.Found(ExchangeOf(number_)); }

  // Whether the tiles of the planned segment cannot be told before Begin().
  __aicore__ inline bool NeedsIndex() const { return Rule::kIndexed || number_ == 0; }

  // More than there are. The first ones do nothing, as slower cores are still at the segment before; there
  // are too many, so that the others are told before the last tiles.
  __aicore__ inline int64_t Steps() {
    const int64_t steps = sums_.Steps() + dots_.Steps();
    idle_ = steps / kIdleShare;
    return steps + idle_ + steps / kSpareShare;
  }

  __aicore__ inline void Step() {
    if (idle_-- > 0) return;
    WaitForParts();
    if (sums_.Step() || dots_.Step()) return;
    if (!Rule::kIndexed && !dots_.Searches()) Announce();
  }

  __aicore__ inline void SumLast(const Segment& segment) {
    Finish();
    Sum(segment, number_);
    Finish();
  }

 private:
  static constexpr int64_t kIdleShare = 12, kSpareShare = 6;

  __aicore__ inline GradExchange<T> ExchangeOf(int64_t number) const {
    return {p_, workspace_, AscendC::GetBlockIdx() / kVectorCores, number};
  }

  __aicore__ inline void Sum(const Segment& segment, int64_t number) {
    AscendC::CrossCoreWaitFlag(kSegmentDone);
    AscendC::CrossCoreSetFlag<0, PIPE_MTE3>(kPartsReady);
    sums_.Start(segment, ExchangeOf(number));
    waits_ = true;
  }
  __aicore__ inline void WaitForParts() {
    if (waits_) AscendC::CrossCoreWaitFlag(kPartsReady);
    waits_ = false;
  }

  __aicore__ inline void Dot(const Segment& segment, int64_t number) {
    next_ = segment;
    next_number_ = number;
    dots_.Start(segment, ExchangeOf(number));
    announces_ = true;
  }
  __aicore__ inline void Announce() {
    if (announces_) AscendC::CrossCoreSetFlag<0, PIPE_MTE3>(kPrepared);
    announces_ = false;
  }

  __aicore__ inline void Finish() {
    WaitForParts();
    sums_.Finish();
    if (!announces_) return;
    dots_.Finish();
    builder_.Build(next_, ExchangeOf(next_number_).index);
    Announce();
  }

 public:
  static constexpr int32_t kInBytes = SideBuffers::kInBytes, kOutBytes = SideBuffers::kOutBytes;
  // These take turns with all else.
  static constexpr int32_t kMostInBytes = Max(TopSearch<T, Rule>::kInBytes, Builder::kInBytes);
  static constexpr int32_t kMostOutBytes = Max(TopSearch<T, Rule>::kOutBytes, Builder::kOutBytes);

 private:
  const AttentionParams& p_;
  GM_ADDR workspace_;
  SideBuffers buffers_;
  GradSums<T, Rule> sums_;
  RowDots<T, Rule> dots_;
  Builder builder_;
  int64_t number_ = 0, next_number_ = 0;
  const Segment *before_ = nullptr, *after_ = nullptr;
  Segment next_{};  // whose deltas are made
  int64_t idle_ = 0;
  bool waits_ = false, announces_ = false;
};

}  // namespace ms_nsa
