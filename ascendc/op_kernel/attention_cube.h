// SPDX-License-Identifier: Apache-2.0
// The AIC's half of token-outer attention: gathers the selected key and value rows directly into L1 and
// multiplies. Step s: load keys and values of s, scores(s) = query key^T, then products(s - 1) = weights(s -
// 1) value, one product for each piece, so that the AIVs turn scores into weights while the next loads run.
#pragma once

#include "exchange.h"
#include "gm_source.h"
#include "panels.h"
#include "parts.h"

namespace ms_nsa {

template <class T, class Source>
class AttentionCube {
 public:
  __aicore__ inline AttentionCube(const AttentionParams& params, const Source& source,
                                  const AttentionAddresses& gm, AscendC::TPipe& pipe)
      : p_(params),
        source_(source),
        exchange_(params, gm.workspace, AscendC::GetBlockIdx()),
        panels_(pipe),
        left_rows_(RoundUp(params.group, kCube)) {
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.query));
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.value));
    if constexpr (kKeepsScores<Source>) exchange_.scores = source_.KeptScores(gm.workspace);
    pipe.InitBuffer(l1_, kL1Bytes);
    pipe.InitBuffer(l0c_, kL0cBytes);
  }

  __aicore__ inline void Run() {
    OpenFlags();
    ClearSecondRows();
    const int64_t round = source_.RoundTokens();
    for (int64_t first = 0; first < p_.tokens; first += round) {
      if constexpr (kKeepsScores<Source>) {
        if (first > 0) AscendC::CrossCoreWaitFlag(kBlocksChosen);
      }
      RunRound({first, first + round});
    }
    CloseFlags();
  }

 private:
  using Tile = AscendC::LocalTensor<T>;

  __aicore__ inline void RunRound(const TokenRange& range) {
    StepWalk<Source> steps(p_, source_, AscendC::GetBlockIdx(), AscendC::GetBlockNum(), range);
    Step step, previous;
    bool pending = false;
    while (steps.Next(step)) {
      if (step.rows == 0) continue;
      LoadStep(step);
      MultiplyScores(step);
      if (pending) MultiplyValues(previous);
      previous = step;
      pending = true;
    }
    if (pending) MultiplyValues(previous);
  }

  // L1: two slots of key, value, query and weights. L0C: two slots of scores, two of products.
  static constexpr int32_t kL0cBytes = 131072;
  static constexpr int32_t kScoresFloats = kMaxGroup * kMaxChunk, kProductFloats = kMaxGroup * kMaxWidth;
  static_assert(kSlots * (kScoresFloats + kProductFloats) * 4 <= kL0cBytes, "L0C");

  // Events: of the pair (MTE2, MTE1) one for each slot of keys and of values; of (M, FIX) likewise for scores
  // and products.
  static constexpr int32_t kFirst = 0, kSecond = 2;

  __aicore__ inline int32_t TileBytes(int32_t rows, int32_t width) const { return rows * width * sizeof(T); }
  __aicore__ inline Tile At(int32_t bytes, int32_t rows, int32_t width) {
    return l1_.template GetWithOffset<T>(rows * width, bytes);
  }
  __aicore__ inline Tile KeyTile(int32_t slot) {
    return At(slot * TileBytes(p_.chunk_rows, p_.d1), p_.chunk_rows, p_.d1);
  }
  __aicore__ inline Tile ValueTile(int32_t slot) {
    const int32_t base = kSlots * TileBytes(p_.chunk_rows, p_.d1);
    return At(base + slot * TileBytes(p_.chunk_rows, p_.d2), p_.chunk_rows, p_.d2);
  }
  __aicore__ inline Tile QueryTile(int32_t slot) {
    const int32_t base = kSlots * TileBytes(p_.chunk_rows, p_.d1 + p_.d2);
    return At(base + slot * TileBytes(left_rows_, p_.d1), left_rows_, p_.d1);
  }
  __aicore__ inline Tile WeightTile(int32_t slot) {
    const int32_t base = kSlots * (TileBytes(p_.chunk_rows, p_.d1 + p_.d2) + TileBytes(left_rows_, p_.d1));
    return At(base + slot * TileBytes(left_rows_, p_.chunk_rows), left_rows_, p_.chunk_rows);
  }
  __aicore__ inline AscendC::LocalTensor<float> ScoresTile(int32_t slot) {
    return l0c_.template GetWithOffset<float>(kScoresFloats, slot * kScoresFloats * 4);
  }
  __aicore__ inline AscendC::LocalTensor<float> ProductTile(int32_t slot) {
    return l0c_.template GetWithOffset<float>(kProductFloats,
                                              (kSlots * kScoresFloats + slot * kProductFloats) * 4);
  }
  __aicore__ inline void OpenFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kFirst + slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kSecond + slot);
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kFirst + slot);
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kSecond + slot);
    }
    panels_.Open();
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kFirst + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kSecond + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kFirst + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kSecond + slot);
    }
    panels_.Close();
  }

  // Once: nothing else ever writes them.
  __aicore__ inline void ClearSecondRows() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      ClearSecondRow(QueryTile(slot), p_.group, p_.d1, kCube);
      ClearSecondRow(WeightTile(slot), p_.group, p_.chunk_rows, kCube);
    }
  }

  // The values lie as slabs if the length of every run is a multiple of 16; keys and values have the same
  // runs.
  __aicore__ inline void LoadStep(const Step& step) {
    const int32_t slot = step.ordinal % kSlots;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kFirst + slot);
    if (step.first) StartPart(step.part);
    const bool whole = Gather(KeyTile(slot), key_, key_rows_, step, p_.d1, false);
    slabs_[slot] = whole && source_.CacheStride(p_.d2) <= kMaxSlabStride;
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kFirst + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kSecond + slot);
    Gather(ValueTile(slot), value_, value_rows_, step, p_.d2, slabs_[slot]);
  }

  // The slot's previous part ended at least two steps ago, and the wait for this step's key slot covers that.
  __aicore__ inline void StartPart(const Part& part) {
    query_slot_ = 1 - query_slot_;
    const int64_t heads = int64_t{p_.kv_heads} * p_.group;
    const int64_t row = part.token.row * heads + int64_t{part.head} * p_.group;
    LoadFewRows(QueryTile(query_slot_), query_[row * p_.d1], p_.group, p_.d1, p_.d1, left_rows_);
    key_rows_ = RowWalk<Source>(p_, source_, part.token, part.head);
    key_rows_.Skip(part.first_row);
    value_rows_ = key_rows_;
  }

  // The step's rows, as a zN tile or as slabs of 16 rows; returns whether every run is whole slabs.
  __aicore__ inline bool Gather(const Tile& tile, const AscendC::GlobalTensor<T>& cache,
                                RowWalk<Source>& walk, const Step& step, int32_t width, bool slabs) {
    const int32_t tile_rows = RoundUp(step.rows, kCube);
    const int64_t stride = source_.CacheStride(width);
    bool whole = true;
    for (int64_t done = 0; done < step.rows;) {
      const RowRun run = walk.Next(step.rows - done);
      const auto rows = cache[source_.CacheOffset(run.cache_row, step.part.head, width)];
      if (slabs) LoadSlabs(tile[done * width], rows, run.rows, width, stride);
      if (!slabs) LoadRows(tile[done * kCube], rows, run.rows, width, stride, tile_rows);
      whole = whole && run.rows % kCube == 0;
      done += run.rows;
    }
    ClearRows(tile, step.rows, width, tile_rows);
    return whole;
  }

  // scores = query key^T, panel by panel of their common width; panels are the same in short steps.
  __aicore__ inline void MultiplyScores(const Step& step) {
    const int32_t slot = step.ordinal % kSlots, rows = RoundUp(step.rows, kCube);
    const Tile query = QueryTile(query_slot_), key = KeyTile(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kFirst + slot);
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kFirst + slot);
    panels_.TimesTransposed(ScoresTile(slot), query, left_rows_, key, rows, p_.group, p_.d1,
                            PanelDepth(p_.chunk_rows));
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kFirst + slot);
    const ScorePlace place = PlaceOfScores(p_, source_, step);
    Store(exchange_.scores[place.offset], ScoresTile(slot), rows, place.stride, kFirst + slot);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
  }

  // products = weights value, piece by piece.
  __aicore__ inline void MultiplyValues(const Step& step) {
    const int32_t slot = step.ordinal % kSlots, rows = RoundUp(step.rows, kCube);
    const Tile weights = WeightTile(slot), value = ValueTile(slot);
    AscendC::CrossCoreWaitFlag(kWeightsReady);
    LoadFewRows(weights, exchange_.weights[int64_t{slot} * p_.group * p_.chunk_rows], p_.group, step.rows,
                p_.chunk_rows, left_rows_);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kSecond + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kSecond + slot);
    const int32_t piece = PieceRows(p_);
    int64_t product = ProductOf(p_, step);
    for (int32_t first = 0; first < rows; first += piece, product += p_.group * p_.d2) {
      const int32_t event = kSecond + product_slot_;
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(event);
      panels_.Times(ProductTile(product_slot_), weights, left_rows_, value, rows, p_.group, p_.d2,
                    Min(piece, rows - first), first, slabs_[slot]);
      if (first + piece >= rows) AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kSecond + slot);
      Store(exchange_.products[product], ProductTile(product_slot_), p_.d2, p_.d2, event);
      product_slot_ = 1 - product_slot_;
    }
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kProductsReady);
  }

  __aicore__ inline void Store(const AscendC::GlobalTensor<float>& gm,
                               const AscendC::LocalTensor<float>& product, int32_t columns, int32_t stride,
                               int32_t event) {
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(event);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(event);
    StoreProduct(gm, product, left_rows_, p_.group, columns, stride);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(event);
  }

  const AttentionParams& p_;
  Source source_;
  Exchange<T> exchange_;
  AscendC::GlobalTensor<T> query_, key_, value_;
  AscendC::TBuf<AscendC::TPosition::A1> l1_;
  AscendC::TBuf<AscendC::TPosition::CO1> l0c_;
  Panels<T> panels_;
  RowWalk<Source> key_rows_{p_, source_, Token{}, 0}, value_rows_{p_, source_, Token{}, 0};
  int32_t left_rows_;  // of query and weights in L1 and L0A
  int32_t query_slot_ = 0, product_slot_ = 0;
  bool slabs_[kSlots] = {};  // of the values of a step
};

}  // namespace ms_nsa
