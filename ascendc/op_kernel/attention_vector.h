// SPDX-License-Identifier: Apache-2.0
// The AIV's half of token-outer attention: scores to weights, sums of products, results. Each of the two AIVs
// of a core takes half of the query heads. Iteration s: weights of step s, then the product of step s - 1.
#pragma once

#include "attention_buffers.h"
#include "exchange.h"
#include "gm_source.h"
#include "parts.h"
#include "score_copy.h"

namespace ms_nsa {

// What the AIVs do with the scores that a source keeps, when a round's results are there.
template <class Source>
class ChoiceOf {
 public:
  static constexpr int32_t kInBytes = 0, kOutBytes = 0;
  __aicore__ inline ChoiceOf(const Source&, const AttentionAddresses&) {}
};

template <class T, class Source>
class AttentionVector {
 public:
  __aicore__ inline AttentionVector(const AttentionParams& params, const Source& source,
                                    const AttentionAddresses& gm, AscendC::TPipe& pipe)
      : p_(params),
        source_(source),
        core_(AscendC::GetBlockIdx() / kVectorCores),
        exchange_(params, gm.workspace, core_),
        workspace_(gm.workspace),
        ub_(pipe, ChoiceOf<Source>::kInBytes, ChoiceOf<Source>::kOutBytes),
        choice_(source_, gm) {
    if constexpr (kKeepsScores<Source>) exchange_.scores = source_.KeptScores(gm.workspace);
    const int32_t sub = AscendC::GetSubBlockIdx(), first = CeilDiv(params.group, kVectorCores);
    first_row_ = sub * first;
    rows_ = sub == 0 ? first : params.group - first;
    sub_ = sub;
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
    out_max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    out_sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  __aicore__ inline void Run() {
    ub_.Clear();
    OpenFlags();
    const int64_t round = source_.RoundTokens();
    for (int64_t first = 0; first < p_.tokens; first += round) {
      RunRound({first, first + round});
      if constexpr (kKeepsScores<Source>) {
        AscendC::SyncAll();
        choice_.Run({first, first + round}, ub_.unified());
        ub_.Clear();
        AscendC::PipeBarrier<PIPE_ALL>();
        if (first + round < p_.tokens) AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kBlocksChosen);
      }
    }
    CloseFlags();
  }

 private:
  __aicore__ inline void RunRound(const TokenRange& range) {
    StepWalk<Source> steps(p_, source_, core_, AscendC::GetBlockNum(), range);
    Step step, previous;
    bool pending = false;
    while (steps.Next(step)) {
      if (step.first) ResetStats(ub_.Stats(step.part_number % kSlots));
      if (step.rows > 0) WeighScores(step);
      if (pending) AddProduct(previous);
      previous = step;
      pending = true;
    }
    if (pending) AddProduct(previous);
    AscendC::SyncAll();
    if (pending && previous.part.starts && !previous.part.ends) MergeFollowers(steps.parts(), previous);
  }

  // Events: of (MTE2, V) one for each slot of scores and of products; of (V, MTE3) one for each slot of
  // weights and one for results.
  static constexpr int32_t kScores = 0, kProducts = 2, kWeights = 0, kResults = 2;

  __aicore__ inline void OpenFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kProducts + slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kResults);
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kProducts + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    }
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults);
  }

  __aicore__ inline void WeighScores(const Step& step) {
    const int32_t slot = step.ordinal % kSlots;
    AscendC::CrossCoreWaitFlag(kScoresReady);
    if (rows_ > 0) {
      const int32_t stride = RoundUp(step.rows, kLanes);
      const int64_t offset = (int64_t{slot} * p_.group + first_row_) * p_.chunk_rows;
      const ScorePlace place = PlaceOfScores(p_, source_, step);
      LoadScores(exchange_.scores[place.offset + first_row_ * place.stride], slot, step.rows, stride,
                 place.stride);
      SoftmaxStep(ub_.Scores(slot), ub_.Stats(step.part_number % kSlots), ub_.Decay(slot), ub_.Scratch(),
                  p_.scale_value, rows_, step.rows, stride);
      StoreWeights(exchange_.weights[offset], slot, step.rows, stride);
    }
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
  }

  __aicore__ inline void LoadScores(const AscendC::GlobalTensor<float>& scores, int32_t slot, int32_t columns,
                                    int32_t stride, int32_t gm_stride) {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
    CopyScores(ub_.Scores(slot), scores, rows_, columns, stride, gm_stride);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kScores + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kScores + slot);
  }

  __aicore__ inline void StoreWeights(const AscendC::GlobalTensor<T>& weights, int32_t slot, int32_t columns,
                                      int32_t stride) {
    const AscendC::LocalTensor<T> rounded = ub_.template Weights<T>(slot);
    ScaleWeights<T>(p_, ub_.Scores(slot), rows_ * stride);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    AscendC::Cast(rounded, ub_.Scores(slot), AscendC::RoundMode::CAST_RINT, rows_ * stride);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kWeights + slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kWeights + slot);
    CopyWeights(weights, rounded, rows_, columns, stride, p_.chunk_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
  }

  __aicore__ inline void AddProduct(const Step& step) {
    const int32_t slot = step.ordinal % kSlots;
    if (step.rows > 0) AscendC::CrossCoreWaitFlag(kProductsReady);
    if (rows_ == 0) return;
    if (step.rows > 0) {
      const int64_t row = int64_t{slot} * p_.group + first_row_;
      LoadProduct(exchange_.products[row * p_.d2], slot);
      if (!step.first) Rescale(ub_.Decay(slot));
      Accumulate(ub_.Product(slot), step.first);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kProducts + slot);
    } else {
      AscendC::Duplicate(ub_.Sum(), 0.0f, rows_ * p_.d2);
    }
    AscendC::PipeBarrier<PIPE_V>();
    if (step.last) FinishPart(step);
  }

  __aicore__ inline void LoadProduct(const AscendC::GlobalTensor<float>& product, int32_t slot) {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kProducts + slot);
    AscendC::DataCopy(ub_.Product(slot), product, rows_ * p_.d2);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kProducts + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kProducts + slot);
  }

  __aicore__ inline void Rescale(const Floats& factor) {
    const Floats spread = ub_.Scratch().spread;
    SpreadRows(spread, factor);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kMul>(ub_.Sum(), spread, rows_, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void Accumulate(const Floats& product, bool first) {
    if (first) {
      AscendC::Adds(ub_.Sum(), product, 0.0f, rows_ * p_.d2);
    } else {
      AscendC::Add(ub_.Sum(), ub_.Sum(), product, rows_ * p_.d2);
    }
  }

  // A part that starts its unit but does not end it stays where it is until all cores are done.
  __aicore__ inline void FinishPart(const Step& step) {
    const RowStats stats = ub_.Stats(step.part_number % kSlots);
    if (!step.part.starts) {
      StorePartial(stats);
    } else if (step.part.ends) {
      StoreResult(step.part, stats);
    }
  }

  __aicore__ inline void StoreResult(const Part& part, const RowStats& stats) {
    const SoftmaxScratch scratch = ub_.Scratch();
    DivisorOf<T>(p_, scratch.row, stats.sum, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    SpreadRows(scratch.spread, scratch.row);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kDiv>(ub_.Sum(), scratch.spread, rows_, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    const AscendC::LocalTensor<T> result = ub_.template Result<T>();
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults);
    AscendC::Cast(result, ub_.Sum(), AscendC::RoundMode::CAST_RINT, rows_ * p_.d2);
    if (p_.statistics) SpreadStatistics(stats);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kResults);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kResults);
    const int64_t heads = int64_t{p_.kv_heads} * p_.group;
    const int64_t row = part.token.row * heads + int64_t{part.head} * p_.group + first_row_;
    AscendC::DataCopy(out_[row * p_.d2], result, rows_ * p_.d2);
    if (p_.statistics) {
      AscendC::DataCopy(out_max_[row * kBlockFloats], ub_.SpreadMax(), rows_ * kBlockFloats);
      AscendC::DataCopy(out_sum_[row * kBlockFloats], ub_.SpreadSum(), rows_ * kBlockFloats);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kResults);
  }

  // Eight equal lanes a row.
  __aicore__ inline void SpreadStatistics(const RowStats& stats) {
    SpreadRows(ub_.SpreadSum(), stats.sum);
    FinishMax(stats, ub_.Scratch().row, ub_.Scratch().fold, kStatRows);
    SpreadRows(ub_.SpreadMax(), stats.max);
  }

  __aicore__ inline AscendC::GlobalTensor<float> PartialOf(int64_t core) {
    const CoreArea area = AreaOf(p_);
    AscendC::GlobalTensor<float> partial;
    partial.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace_ + core * area.bytes + area.partials));
    return partial[sub_ * PartialFloats(p_)];
  }

  // At most one a core and kernel, so that the wait at its end costs nothing that matters.
  __aicore__ inline void StorePartial(const RowStats& stats) {
    const AscendC::GlobalTensor<float> partial = PartialOf(core_);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kResults);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kResults);
    AscendC::DataCopy(partial, ub_.Sum(), rows_ * p_.d2);
    AscendC::DataCopy(partial[kMaxRows * p_.d2], stats.max, kStatRows);
    AscendC::DataCopy(partial[kMaxRows * p_.d2 + kStatRows], stats.sum, kStatRows);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kResults + 1);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults + 1);
  }

  __aicore__ inline void MergeFollowers(const PartWalk<Source>& parts, const Step& step) {
    if (rows_ == 0) return;
    const RowStats stats = ub_.Stats(step.part_number % kSlots);
    for (int64_t core = parts.Follower(step.part.unit, core_ + 1); core >= 0;
         core = parts.Follower(step.part.unit, core + 1)) {
      Merge(PartialOf(core), stats);
    }
    StoreResult(step.part, stats);
  }

  __aicore__ inline void Merge(const AscendC::GlobalTensor<float>& partial, const RowStats& stats) {
    const RowStats other = ub_.OtherStats();
    const Floats product = ub_.Product(0), decay = ub_.Decay(0), other_decay = ub_.Decay(1);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kProducts);
    AscendC::DataCopy(product, partial, rows_ * p_.d2);
    AscendC::DataCopy(other.max, partial[kMaxRows * p_.d2], kStatRows);
    AscendC::DataCopy(other.sum, partial[kMaxRows * p_.d2 + kStatRows], kStatRows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kProducts);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kProducts);
    RaiseMax(stats.max, other.max, decay);
    RaiseMax(other.max, stats.max, other_decay);
    AscendC::Mul(stats.sum, stats.sum, decay, kStatRows);
    AscendC::Mul(other.sum, other.sum, other_decay, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Add(stats.sum, stats.sum, other.sum, kStatRows);
    Rescale(decay);
    const Floats spread = ub_.Scratch().spread;
    SpreadRows(spread, other_decay);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kMul>(product, spread, rows_, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    Accumulate(product, false);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kProducts);
  }

  const AttentionParams& p_;
  Source source_;
  int64_t core_;
  Exchange<T> exchange_;
  GM_ADDR workspace_;
  AttentionBuffers ub_;
  AscendC::GlobalTensor<T> out_;
  AscendC::GlobalTensor<float> out_max_, out_sum_;
  ChoiceOf<Source> choice_;
  int32_t sub_, first_row_, rows_;  // this AIV's query heads of a group
};

}  // namespace ms_nsa
