// SPDX-License-Identifier: Apache-2.0
// The AIV's half of token-outer attention: scores to weights, sums of products, results. Each of the two AIVs
// of a core takes half of the query heads. Iteration s: weights of step s, then, if step s - 1 was the last
// one of a bundle of pieces, the sum of their products.
#pragma once

#include "attention_buffers.h"
#include "bundle_sums.h"
#include "exchange.h"
#include "gm_source.h"
#include "parts.h"
#include "piece_softmax.h"
#include "score_copy.h"
#include "shared_units.h"

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
        first_row_(AscendC::GetSubBlockIdx() * CeilDiv(params.group, kVectorCores)),
        rows_(Min(params.group - first_row_, CeilDiv(params.group, kVectorCores))),
        exchange_(params, gm.workspace, core_),
        ub_(pipe, ChoiceOf<Source>::kInBytes, ChoiceOf<Source>::kOutBytes),
        sums_(params, gm.workspace, ub_, first_row_, rows_),
        shared_(params, gm.workspace, ub_, sums_, core_, rows_),
        choice_(source_, gm) {
    if constexpr (kKeepsScores<Source>) exchange_.scores = source_.KeptScores(gm.workspace);
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
      if (step.rows > 0) WeighScores(step);
      if (pending) FinishStep(previous);
      previous = step;
      pending = true;
    }
    if (pending) FinishStep(previous);
    AscendC::SyncAll();
    if (rows_ > 0 && pending && previous.part.starts && !previous.part.ends) {
      shared_.Merge(steps.parts(), previous.part);
      StoreResult(previous.part);
    }
  }

  // Events: of (MTE2, V) one for each slot of scores and of products; of (V, MTE3) one for each slot of
  // weights and one for results.
  static constexpr int32_t kScores = 0, kWeights = 0, kResults = 2;
  static constexpr int32_t kProducts = BundleSums::kProducts;

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
      const int32_t pieces = PiecesOf(p_, step), place = PlaceOf(p_, step) * kMaxRows;
      const int32_t stride = pieces > 1 ? p_.chunk_rows : RoundUp(step.rows, kLanes);
      const int64_t offset = (int64_t{slot} * p_.group + first_row_) * p_.chunk_rows;
      const ScorePlace scores = PlaceOfScores(p_, source_, step);
      LoadScores(exchange_.scores[scores.offset + first_row_ * scores.stride], slot, step.rows, stride,
                 scores.stride);
      const RowStats stats = ub_.PieceStats(step.bundle_ordinal % kSlots);
      SoftmaxPieces(ub_.Scores(slot), {stats.max[place], stats.sum[place]}, ub_.Scratch(), p_.scale_value,
                    rows_, step.rows, pieces, stride / pieces);
      StoreWeights(exchange_.weights[offset], slot, step.rows, stride);
    }
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
    if (rows_ > 0 && !step.whole) shared_.StorePieces(step);
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

  // A part that starts its unit but does not end it stays where it is until all cores are done.
  __aicore__ inline void FinishStep(const Step& step) {
    const bool sums = rows_ > 0 && step.rows > 0 && step.whole && step.bundle_last;
    const int32_t pieces = PlaceOf(p_, step) + PiecesOf(p_, step);
    if (step.first) sums_.StartUnit();
    if (sums) sums_.Weigh(ub_.PieceStats(step.bundle_ordinal % kSlots), pieces);
    if (step.rows > 0) AscendC::CrossCoreWaitFlag(kProductsReady);
    if (sums) SumBundle(step, pieces);
    if (rows_ > 0 && step.last && step.part.starts && step.part.ends) StoreResult(step.part);
  }

  __aicore__ inline void SumBundle(const Step& step, int32_t pieces) {
    const PieceRun run{core_, static_cast<int32_t>(step.bundle_ordinal % kShared), 0, pieces};
    sums_.Sum(&run, 1, pieces);
    if (step.part.starts) {
      sums_.Include();
    } else {
      shared_.StoreBundle(step);
    }
  }

  __aicore__ inline void StoreResult(const Part& part) {
    sums_.EndUnit();
    const RowStats stats = sums_.Stats();
    const Floats sum = sums_.Total();
    const SoftmaxScratch scratch = ub_.Scratch();
    DivisorOf<T>(p_, scratch.row, stats.sum, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    SpreadRows(scratch.spread, scratch.row);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kDiv>(sum, scratch.spread, rows_, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    const AscendC::LocalTensor<T> result = ub_.template Result<T>();
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults);
    AscendC::Cast(result, sum, AscendC::RoundMode::CAST_RINT, rows_ * p_.d2);
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

  const AttentionParams& p_;
  Source source_;
  int64_t core_;
  int32_t first_row_, rows_;  // this AIV's query heads of a group
  Exchange<T> exchange_;
  AttentionBuffers ub_;
  BundleSums sums_;
  SharedUnits shared_;
  AscendC::GlobalTensor<T> out_;
  AscendC::GlobalTensor<float> out_max_, out_sum_;
  ChoiceOf<Source> choice_;
};

}  // namespace ms_nsa
