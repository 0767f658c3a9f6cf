// SPDX-License-Identifier: Apache-2.0
// The AIV's half of the dense schedule: scores to weights, sums of products, results. Each of the two AIVs of
// a core takes half of a tile's tokens. Iteration s: weights of step s, then the product of step (s -
// kPreload).
#pragma once

#include "block_importance.h"
#include "dense_result.h"
#include "overlap_table.h"
#include "score_copy.h"

namespace ms_nsa {

template <class T>
class DenseVector {
 public:
  __aicore__ inline DenseVector(const DenseParams& params, const DenseAddresses& gm, AscendC::TPipe& pipe)
      : params_(params),
        p_(params.attention),
        source_(params, gm),
        core_(AscendC::GetBlockIdx() / kVectorCores),
        exchange_(params, gm.workspace, core_),
        ub_(params, pipe),
        fetch_(params.attention, gm.query),
        result_(params, gm, ub_),
        importance_(params, gm, source_, exchange_, ub_),
        again_(params, exchange_.again) {}

  __aicore__ inline void Run() {
    const int32_t aiv = AscendC::GetSubBlockIdx();
    ub_.Clear();
    OpenFlags();
    if (params_.step_blocks > 0) {
      MakeOverlap<T>(params_, ub_, exchange_.overlap);
      importance_.Start();
    }
    DenseTileWalk<DenseSource> tiles(params_, source_, core_, AscendC::GetBlockNum());
    RunTiles(tiles);
    again_.Close(aiv);
    AscendC::SyncAll<false>();
    AgainList list(params_, exchange_.again);
    list.Open();
    if (!list.Empty()) {
      AgainWalk again(params_, source_, core_, list);
      RunTiles(again);
    }
    CloseFlags();
  }

 private:
  // Events: of (MTE2, V) one for each slot of scores and of pieces; of (V, MTE3) one for each slot of weights
  // and of results, and those of DenseResult and BlockImportance.
  static constexpr int32_t kScores = 0, kPieces = 2, kWeights = 0;

  __aicore__ inline void OpenFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    }
    fetch_.Open();
    result_.Open();
    importance_.Open();
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    }
    fetch_.Close();
    result_.Close();
    importance_.Close();
  }

  template <class Tiles>
  __aicore__ inline void RunTiles(Tiles& tiles) {
    Tiles ahead = tiles;
    int64_t fetched = 0, count = 0, done = 0;
    for (int32_t i = 0; i < kFetched; ++i) FetchNext(ahead, fetched);
    DenseStepWalk<Tiles> steps(params_, tiles);
    DenseStep ring[kRing];
    while (steps.Next(ring[count % kRing])) {
      const DenseStep& step = ring[count % kRing];
      if (step.rows == 0) {
        result_.StoreNothing(step.tile);
        if (params_.step_blocks > 0) importance_.ChooseUnseen(step.tile);
        continue;
      }
      AscendC::CrossCoreWaitFlag(kScoresReady);
      if (step.first) FetchNext(ahead, fetched);
      Weigh(step);
      if (++count > kPreload) AddProduct(ring[done++ % kRing]);
    }
    while (done < count) AddProduct(ring[done++ % kRing]);
  }

  template <class Tiles>
  __aicore__ inline void FetchNext(Tiles& ahead, int64_t& fetched) {
    DenseTile tile;
    do {
      if (!ahead.Next(tile)) return;
    } while (tile.range.rows() == 0);
    fetch_.Fetch(tile, fetched++, ub_.template Queries<T>(), exchange_.queries);
  }

  __aicore__ inline int32_t Rows(const DenseShare& share) const { return share.tokens * p_.group; }
  __aicore__ inline RowStats StatsOf(const DenseStep& step) { return ub_.Stats(step.tile_ordinal % kRing); }

  __aicore__ inline void Weigh(const DenseStep& step) {
    const DenseShare share = ShareOf(step.tile);
    if (step.first) ResetStats(StatsOf(step));
    if (share.tokens > 0) WeighRows(step, share);
    AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
  }

  __aicore__ inline void WeighRows(const DenseStep& step, const DenseShare& share) {
    const int32_t slot = step.ordinal % kSlots, rows = Rows(share), stride = RoundUp(step.rows, kLanes);
    const Floats scores = ub_.Scores(slot);
    const int64_t row = step.ordinal % kRing * kDenseRows + share.first * p_.group;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
    CopyScores(scores, exchange_.scores[row * p_.chunk_rows], rows, step.rows, stride, p_.chunk_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kScores + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kScores + slot);
    ScaleScores(scores, p_.scale_value, rows, step.rows, stride);
    if (!AllSeeAll(step, share)) HideScores(params_, source_, step, share, scores, stride);
    SoftmaxScaled(scores, StatsOf(step), ub_.Decay(step.ordinal % kRing), ub_.Scratch(), rows, stride);
    ScaleWeights<T>(p_, scores, rows * stride);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
    const AscendC::LocalTensor<T> rounded = ub_.template Weights<T>(slot);
    AscendC::Cast(rounded, scores, AscendC::RoundMode::CAST_RINT, rows * stride);
    if (params_.step_blocks > 0) AscendC::Adds(ub_.TopOut(slot), StatsOf(step).max, 0.0f, kStatRows);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kWeights + slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kWeights + slot);
    CopyWeights(exchange_.weights[row * p_.chunk_rows], rounded, rows, step.rows, stride, p_.chunk_rows);
    if (params_.step_blocks > 0) importance_.StoreTop(step, ub_.TopOut(slot));
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kWeights + slot);
  }

  __aicore__ inline bool AllSeeAll(const DenseStep& step, const DenseShare& share) const {
    if (p_.atten_mask_cols > 0) return false;
    const int64_t index = step.tile.index + share.first;
    return SeenBy(params_, step.tile.span, index).end >= step.row + step.rows &&
           SeenBy(params_, step.tile.span, index + share.tokens - 1).first <= step.row;
  }

  __aicore__ inline void AddProduct(const DenseStep& step) {
    const DenseShare share = ShareOf(step.tile);
    AscendC::CrossCoreWaitFlag(kProductsReady);
    if (share.tokens == 0) return;
    if (params_.need_output) AddRows(step, share);
    if (!step.last) return;
    if (params_.step_blocks > 0) importance_.Choose(step, share, StatsOf(step), piece_);
    if (!result_.Store(step.tile, share, StatsOf(step)))
      again_.Add(AscendC::GetSubBlockIdx(), step.tile.number);
  }

  // A step's product comes in pieces of rows, each in the other slot.
  __aicore__ inline void AddRows(const DenseStep& step, const DenseShare& share) {
    const int32_t rows = Rows(share), most = kPiece / p_.d2;
    const int64_t first = step.ordinal % kRing * kDenseRows + share.first * p_.group;
    if (!step.first) Rescale(ub_.Decay(step.ordinal % kRing), rows);
    for (int32_t row = 0; row < rows; row += most) {
      const int32_t slot = piece_ % kSlots, floats = Min(most, rows - row) * p_.d2;
      const Floats piece = ub_.Piece(slot), sum = ub_.Sum()[row * p_.d2];
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
      AscendC::DataCopy(piece, exchange_.products[(first + row) * p_.d2], floats);
      AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kPieces + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kPieces + slot);
      if (step.first) AscendC::Adds(sum, piece, 0.0f, floats);
      if (!step.first) AscendC::Add(sum, sum, piece, floats);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
      ++piece_;
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void Rescale(const Floats& factor, int32_t rows) {
    const Floats spread = ub_.Scratch().spread;
    SpreadRows(spread, factor);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kMul>(ub_.Sum(), spread, rows, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  DenseSource source_;
  int64_t core_;
  DenseExchange<T> exchange_;
  DenseBuffers ub_;
  DenseFetch<T> fetch_;
  DenseResult<T> result_;
  BlockImportance<T> importance_;
  AgainList again_;
  int64_t piece_ = 0;
};

}  // namespace ms_nsa
