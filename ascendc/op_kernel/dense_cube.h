// SPDX-License-Identifier: Apache-2.0
// The AIC's half of the dense schedule: key rows of a step are loaded once for all tokens of a tile, whose
// queries the AIVs fetched. Step s's scores come before step (s - kPreload)'s products.
#pragma once

#include "dense_exchange.h"
#include "panels.h"

namespace ms_nsa {

template <class T>
class DenseCube {
 public:
  __aicore__ inline DenseCube(const DenseParams& params, const DenseAddresses& gm, AscendC::TPipe& pipe)
      : params_(params),
        p_(params.attention),
        at_(DenseL1Of(params)),
        source_(params, gm),
        exchange_(params, gm.workspace, AscendC::GetBlockIdx()),
        panels_(pipe) {
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.value));
    pipe.InitBuffer(l1_, at_.steps + at_.slots * at_.step_bytes);
    pipe.InitBuffer(l0c_, kL0cBytes);
  }

  __aicore__ inline void Run() {
    OpenFlags();
    if (params_.step_blocks > 0) LoadOverlap();
    DenseTileWalk<DenseSource> tiles(params_, source_, AscendC::GetBlockIdx(), AscendC::GetBlockNum());
    RunTiles(tiles);
    AscendC::SyncAll<false>();
    AgainList list(params_, exchange_.again);
    list.Open();
    if (!list.Empty()) {
      AgainWalk again(params_, source_, AscendC::GetBlockIdx(), list);
      RunTiles(again);
    }
    CloseFlags();
  }

 private:
  using L1Tile = AscendC::LocalTensor<T>;

  static constexpr int32_t kL0cBytes = 131072;
  static constexpr int32_t kScoresFloats = kDenseRows * kDenseStep, kProductFloats = kDenseRows * kMaxWidth;
  static_assert((kSlots * kScoresFloats + kProductFloats) * 4 <= kL0cBytes, "L0C");
  static_assert(kDenseRows * kMostPart * kSlots <= kProductFloats, "a part");

  // Events: of (MTE2, MTE1) one for each slot of a step's keys and one for its weights; back one for each
  // slot of a step and of queries; of (M, FIX) and back for each slot of scores and of products.
  static constexpr int32_t kStep = 0, kWeights = kMostSlots, kQuery = kMostSlots, kScores = 0, kProduct = 2;

  __aicore__ inline L1Tile At(int32_t bytes, int32_t rows, int32_t width) {
    return l1_.template GetWithOffset<T>(rows * width, bytes);
  }
  __aicore__ inline L1Tile QueryTile(int64_t tile) {
    return At(tile % kSlots * kDenseRows * p_.d1 * 2, kDenseRows, p_.d1);
  }
  __aicore__ inline L1Tile OverlapTile() { return At(at_.overlap, params_.part_blocks, p_.chunk_rows); }
  __aicore__ inline int32_t Slot(const DenseStep& step) const { return step.ordinal % at_.slots; }
  __aicore__ inline int32_t StepAt(const DenseStep& step) const {
    return at_.steps + Slot(step) * at_.step_bytes;
  }
  __aicore__ inline L1Tile KeyTile(const DenseStep& step) { return At(StepAt(step), p_.chunk_rows, p_.d1); }
  __aicore__ inline L1Tile ValueTile(const DenseStep& step) {
    return At(StepAt(step) + p_.chunk_rows * p_.d1 * 2, p_.chunk_rows, p_.d2);
  }
  __aicore__ inline L1Tile WeightTile(const DenseStep& step) {
    return At(StepAt(step) + p_.chunk_rows * (p_.d1 + p_.d2) * 2, kDenseRows, p_.chunk_rows);
  }
  __aicore__ inline AscendC::LocalTensor<float> ScoresTile(int32_t slot) {
    return l0c_.template GetWithOffset<float>(kScoresFloats, slot * kScoresFloats * 4);
  }
  // Two slots where values fit twice: else a product waits for the one before to leave L0C.
  __aicore__ inline bool TwoProducts() const { return kSlots * kDenseRows * p_.d2 <= kProductFloats; }
  __aicore__ inline AscendC::LocalTensor<float> ProductTile(int32_t slot) {
    const int32_t at = kSlots * kScoresFloats + slot * kProductFloats / 2;
    return l0c_.template GetWithOffset<float>(kProductFloats / (slot + 1), at * 4);
  }

  __aicore__ inline void OpenFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + slot);
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kProduct + slot);
    }
    for (int32_t slot = 0; slot < at_.slots; ++slot)
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kStep + slot);
    panels_.Open();
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kProduct + slot);
    }
    for (int32_t slot = 0; slot < at_.slots; ++slot)
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kStep + slot);
    panels_.Close();
  }

  // Stays in L1.
  __aicore__ inline void LoadOverlap() {
    AscendC::CrossCoreWaitFlag(kTableReady);
    LoadRows(OverlapTile(), exchange_.overlap, params_.part_blocks, p_.chunk_rows, p_.chunk_rows,
             params_.part_blocks);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
  }

  template <class Tiles>
  __aicore__ inline void RunTiles(Tiles& tiles) {
    DenseStepWalk<Tiles> steps(params_, tiles);
    DenseStep ring[kRing];
    int64_t count = 0, done = 0;
    while (steps.Next(ring[count % kRing])) {
      const DenseStep& step = ring[count % kRing];
      if (step.rows == 0) continue;
      Load(step);
      MultiplyScores(step);
      if (++count > kPreload) Finish(ring[done++ % kRing]);
    }
    while (done < count) Finish(ring[done++ % kRing]);
  }

  __aicore__ inline int32_t Rows(const DenseStep& step) const { return step.tile.tokens * p_.group; }
  __aicore__ inline int32_t LeftRows(const DenseStep& step) const { return RoundUp(Rows(step), kCube); }
  __aicore__ inline int64_t ScoresAt(const DenseStep& step) const {
    return step.ordinal % kRing * kDenseRows * p_.chunk_rows;
  }

  __aicore__ inline void Load(const DenseStep& step) {
    if (step.first) LoadQueries(step);
    const int64_t row = (step.tile.span.key_row + step.row) * p_.kv_heads + step.tile.head;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kStep + Slot(step));
    LoadStep(KeyTile(step), key_[row * p_.d1], step.rows, p_.d1);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kStep + Slot(step));
    if (params_.need_output) LoadStep(ValueTile(step), value_[row * p_.d2], step.rows, p_.d2);
  }

  __aicore__ inline void LoadStep(const L1Tile& tile, const AscendC::GlobalTensor<T>& gm, int32_t rows,
                                  int32_t width) {
    const int32_t tile_rows = RoundUp(rows, kCube);
    LoadRows(tile, gm, rows, width, int64_t{p_.kv_heads} * width, tile_rows);
    ClearRows(tile, rows, width, tile_rows);
  }

  __aicore__ inline void LoadQueries(const DenseStep& step) {
    const int32_t stride = RowStride(p_.d1);
    const L1Tile queries = QueryTile(step.tile_ordinal);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + step.tile_ordinal % kSlots);
    AscendC::CrossCoreWaitFlag(kRowsReady);
    LoadRows(queries, exchange_.queries[step.tile_ordinal % kFetched * kDenseRows * stride], Rows(step),
             p_.d1, stride, LeftRows(step));
    ClearSecondRow(queries, Rows(step), p_.d1, LeftRows(step));
  }

  __aicore__ inline void MultiplyScores(const DenseStep& step) {
    const int32_t slot = step.ordinal % kSlots, rows = RoundUp(step.rows, kCube);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kStep + Slot(step));
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
    panels_.TimesTransposed(ScoresTile(slot), QueryTile(step.tile_ordinal), LeftRows(step), KeyTile(step),
                            rows, Rows(step), p_.d1);
    if (step.last) AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + step.tile_ordinal % kSlots);
    Store(exchange_.scores[ScoresAt(step)], ScoresTile(slot), step, rows, p_.chunk_rows, kScores + slot);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
  }

  __aicore__ inline void Finish(const DenseStep& step) {
    const L1Tile weights = WeightTile(step);
    AscendC::CrossCoreWaitFlag(kWeightsReady);
    ClearSecondRow(weights, Rows(step), RoundUp(step.rows, kCube), LeftRows(step));
    LoadRows(weights, exchange_.weights[ScoresAt(step)], Rows(step), step.rows, p_.chunk_rows,
             LeftRows(step));
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
    if (params_.need_output) MultiplyValues(step);
    if (params_.step_blocks > 0) MultiplyOverlap(step);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kStep + Slot(step));
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kProductsReady);
  }

  __aicore__ inline void MultiplyValues(const DenseStep& step) {
    const int32_t slot = NextProduct();
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kProduct + slot);
    panels_.Times(ProductTile(slot), WeightTile(step), LeftRows(step), ValueTile(step),
                  RoundUp(step.rows, kCube), Rows(step), p_.d2, step.rows);
    Store(exchange_.products[step.ordinal % kRing * kDenseRows * p_.d2], ProductTile(slot), step, p_.d2,
          p_.d2, kProduct + slot);
  }

  // What the step's windows add to the importance of blocks, from its first block on.
  __aicore__ inline void MultiplyOverlap(const DenseStep& step) {
    const int32_t slot = NextProduct(), blocks = params_.part_blocks;
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kProduct + slot);
    panels_.TimesTransposed(ProductTile(slot), WeightTile(step), LeftRows(step), OverlapTile(), blocks,
                            Rows(step), RoundUp(step.rows, kCube));
    Store(exchange_.parts[step.ordinal % PartSlots(params_) * kDenseRows * blocks], ProductTile(slot), step,
          blocks, blocks, kProduct + slot);
  }

  __aicore__ inline int32_t NextProduct() {
    product_ = TwoProducts() ? 1 - product_ : 0;
    return product_;
  }

  __aicore__ inline void Store(const AscendC::GlobalTensor<float>& gm,
                               const AscendC::LocalTensor<float>& product, const DenseStep& step,
                               int32_t columns, int32_t stride, int32_t event) {
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(event);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(event);
    StoreProduct(gm, product, LeftRows(step), Rows(step), columns, stride);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(event);
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  DenseL1 at_;
  DenseSource source_;
  DenseExchange<T> exchange_;
  AscendC::GlobalTensor<T> key_, value_;
  AscendC::TBuf<AscendC::TPosition::A1> l1_;
  AscendC::TBuf<AscendC::TPosition::CO1> l0c_;
  Panels<T> panels_;
  int32_t product_ = 0;
};

}  // namespace ms_nsa
