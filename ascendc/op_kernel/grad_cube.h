// SPDX-License-Identifier: Apache-2.0
// The AIC's half of the gradient. Keys and values of a strip are loaded once, queries and incoming gradients
// of the tokens that selected it tile by tile; they stay in L1 until the tile is finished. The gradients of
// keys and values grow in L0C until their piece ends; those of the queries leave tile by tile.
#pragma once

#include "grad_exchange.h"
#include "panels.h"
#include "tile_loops.h"

namespace ms_nsa {

template <class T, class Rule>
class GradCube {
 public:
  using Source = typename Rule::Source;
  using Index = typename Rule::Index;

  __aicore__ inline GradCube(const AttentionParams& params, const GradAddresses& gm, const Source& source,
                             AscendC::TPipe& pipe)
      : p_(params), workspace_(gm.workspace), source_(source), cut_(GradCut(params)), panels_(pipe) {
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.value));
    pipe.InitBuffer(l1_, kBytes);
    pipe.InitBuffer(l0c_, kL0cTotal);
  }

  __aicore__ inline void Run() {
    OpenFlags();
    typename Rule::Segments segments(p_, source_);
    for (int64_t number = 0; segments.Next(segment_); ++number) {
      GradExchange<T> exchange(p_, workspace_, AscendC::GetBlockIdx(), number);
      if (Rule::kIndexed || number == 0) {
        AscendC::CrossCoreWaitFlag(kIndexReady);
        exchange.index.Invalidate();
      }
      exchange_ = &exchange;
      const Index index = Rule::IndexOf(source_, segment_, exchange.index);
      TileWalk<Index, Source> tiles(p_, source_, segment_, index, cut_, AscendC::GetBlockIdx(),
                                    AscendC::GetBlockNum(), numbers_);
      BeginAndFinish(tiles, *this);
      numbers_ = tiles.numbers();
      if (Rule::kIndexed) AscendC::PipeBarrier<PIPE_ALL>();  // the index is read
      AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kSegmentDone);
    }
    CloseFlags();
  }

  __aicore__ inline void Begin(const Tile& tile) {
    LoadTile(tile);
    const int32_t slot = tile.ordinal % kL1Slots, block = tile.unit_ordinal % kL1Slots;
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kRows + slot);
    Score(tile, exchange_->scores, QueryTile(slot), KeyTile(block), p_.d1);
    Score(tile, exchange_->weight_grads, GradTile(slot), ValueTile(block), p_.d2);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
  }

  __aicore__ inline void Finish(const Tile& tile, const Tile* next) {
    const int32_t slot = tile.ordinal % kL1Slots;
    LoadWeights(tile);
    if (tile.opens) AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kGrown);
    Grow(tile, ValueGrads(), WeightTile(slot), GradTile(slot), p_.d2);
    Grow(tile, KeyGrads(), ScoreGradTile(slot), QueryTile(slot), p_.d1);
    if (next == nullptr || next->opens) StorePiece(tile);
    QueryGrads(tile);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kRows + slot);
  }

 private:
  using L1Tile = AscendC::LocalTensor<T>;

  // L1: slots of a strip's keys and values; as many of a tile's queries, gradients, weights, score gradients.
  // A strip needs no flag: what used its slot before ended with the tile that used this tile's slot, or
  // sooner, as tiles and strips are numbered on from segment to segment.
  static constexpr int32_t kBlockBytes = kGrowing * 2;  // a strip is what its gradients in L0C allow
  static constexpr int32_t kRowBytes = kTileRows * kMaxWidth * 2, kWeightBytes = kTileRows * kColumns * 2;
  static constexpr int32_t kTileBytes = 2 * kRowBytes + 2 * kWeightBytes;
  static constexpr int32_t kTilesAt = kL1Slots * kBlockBytes, kBytes = kTilesAt + kL1Slots * kTileBytes;
  static_assert(kBytes <= kL1Bytes, "L1");
  static_assert(kGrowing * 4 + kPasses * kPassBytes <= kL0cTotal, "L0C");
  static_assert(kGrowing >= 2 * kMaxWidth * kCube, "a strip has 16 rows");

  // Events of (MTE2, MTE1) and back: kL1Slots tiles; of the first alone, weights in turn. Of (M, FIX) and
  // back: kPasses, then the gradients that grow.
  static constexpr int32_t kRows = 0, kWeights = kL1Slots, kPass = 0, kGrown = kPasses;
  static_assert(kWeights + 2 <= 6, "event ids");

  __aicore__ inline L1Tile At(int32_t bytes, int32_t elements) {
    return l1_.template GetWithOffset<T>(elements, bytes);
  }
  __aicore__ inline L1Tile KeyTile(int32_t slot) { return At(slot * kBlockBytes, cut_.strip_rows * p_.d1); }
  __aicore__ inline L1Tile ValueTile(int32_t slot) {
    return At(slot * kBlockBytes + cut_.strip_rows * p_.d1 * 2, cut_.strip_rows * p_.d2);
  }
  __aicore__ inline L1Tile QueryTile(int32_t slot) {
    return At(kTilesAt + slot * kTileBytes, kTileRows * kMaxWidth);
  }
  __aicore__ inline L1Tile GradTile(int32_t slot) {
    return At(kTilesAt + slot * kTileBytes + kRowBytes, kTileRows * kMaxWidth);
  }
  __aicore__ inline L1Tile WeightTile(int32_t slot) {
    return At(kTilesAt + slot * kTileBytes + 2 * kRowBytes, kTileRows * kColumns);
  }
  __aicore__ inline L1Tile ScoreGradTile(int32_t slot) {
    return At(kTilesAt + slot * kTileBytes + 2 * kRowBytes + kWeightBytes, kTileRows * kColumns);
  }
  __aicore__ inline AscendC::LocalTensor<float> L0c(int32_t floats, int32_t at) {
    return l0c_.template GetWithOffset<float>(floats, at * 4);
  }
  __aicore__ inline AscendC::LocalTensor<float> KeyGrads() { return L0c(cut_.strip_rows * p_.d1, 0); }
  __aicore__ inline AscendC::LocalTensor<float> ValueGrads() {
    return L0c(cut_.strip_rows * p_.d2, cut_.strip_rows * p_.d1);
  }
  __aicore__ inline AscendC::LocalTensor<float> PassTile() {
    return L0c(kTileRows * kColumns, kGrowing + pass_ * kTileRows * kColumns);
  }

  __aicore__ inline void OpenFlags() {
    for (int32_t slot = 0; slot < kL1Slots; ++slot)
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kRows + slot);
    for (int32_t pass = 0; pass <= kPasses; ++pass) AscendC::SetFlag<AscendC::HardEvent::FIX_M>(pass);
    panels_.Open();
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kL1Slots; ++slot)
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kRows + slot);
    for (int32_t pass = 0; pass <= kPasses; ++pass) AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(pass);
    panels_.Close();
  }

  __aicore__ inline int32_t LeftRows(const Tile& tile) const {
    return RoundUp(tile.tokens * p_.group, kCube);
  }
  __aicore__ inline int64_t TileOffset(const Tile& tile) const {
    return tile.ordinal % kRing * kTileRows * cut_.strip_rows;
  }

  __aicore__ inline void LoadTile(const Tile& tile) {
    const int32_t slot = tile.ordinal % kL1Slots, left_rows = LeftRows(tile);
    const int32_t m = tile.tokens * p_.group;
    const int64_t row = tile.ordinal % kFetched * kTileRows;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kRows + slot);
    if (tile.first) LoadStrip(tile);
    AscendC::CrossCoreWaitFlag(kRowsReady);
    LoadSlabs(QueryTile(slot), exchange_->queries[row * RowStride(p_.d1)], m, p_.d1, RowStride(p_.d1));
    LoadSlabs(GradTile(slot), exchange_->grads[row * RowStride(p_.d2)], m, p_.d2, RowStride(p_.d2));
    ClearSecondRow(QueryTile(slot), m, p_.d1, left_rows);
    ClearSecondRow(GradTile(slot), m, p_.d2, left_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kRows + slot);
  }

  __aicore__ inline void LoadStrip(const Tile& tile) {
    const int32_t slot = tile.unit_ordinal % kL1Slots, rows = tile.block_rows,
                  tile_rows = RoundUp(rows, kCube);
    const int64_t row = (segment_.kv_start + tile.row) * p_.kv_heads + tile.head;
    const L1Tile key = KeyTile(slot), value = ValueTile(slot);
    LoadRows(key, key_[row * p_.d1], rows, p_.d1, int64_t{p_.kv_heads} * p_.d1, tile_rows);
    LoadRows(value, value_[row * p_.d2], rows, p_.d2, int64_t{p_.kv_heads} * p_.d2, tile_rows);
    ClearRows(key, rows, p_.d1, tile_rows);
    ClearRows(value, rows, p_.d2, tile_rows);
    if (tile.hidden != 0) ClearHidden(tile, key, tile_rows);
  }

  // A hidden row meets the cube only in the product of score gradients with keys, with gradient 0.
  __aicore__ inline void ClearHidden(const Tile& tile, const L1Tile& key, int32_t tile_rows) {
    AscendC::PipeBarrier<PIPE_MTE2>();
    for (int32_t row = 0; row < tile.rows; ++row) {
      if ((tile.hidden >> row & 1) != 0) ClearRows(key, row, row + 1, p_.d1, tile_rows);
    }
  }

  __aicore__ inline void LoadWeights(const Tile& tile) {
    const int32_t slot = tile.ordinal % kL1Slots, m = tile.tokens * p_.group, left_rows = LeftRows(tile);
    const int32_t columns = RoundUp(tile.block_rows, kCube);
    AscendC::CrossCoreWaitFlag(kWeightsReady);
    LoadRows(WeightTile(slot), exchange_->weights[TileOffset(tile)], m, columns, cut_.strip_rows, left_rows);
    LoadRows(ScoreGradTile(slot), exchange_->score_grads[TileOffset(tile)], m, columns, cut_.strip_rows,
             left_rows);
    ClearSecondRow(WeightTile(slot), m, columns, left_rows);
    ClearSecondRow(ScoreGradTile(slot), m, columns, left_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights + tile.ordinal % 2);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights + tile.ordinal % 2);
  }

  // scores = left right^T, to the AIVs.
  __aicore__ inline void Score(const Tile& tile, const AscendC::GlobalTensor<float>& scores,
                               const L1Tile& left, const L1Tile& right, int32_t width) {
    const int32_t columns = RoundUp(tile.block_rows, kCube), m = tile.tokens * p_.group;
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kPass + pass_);
    panels_.SlabsTimesTransposed(PassTile(), left, LeftRows(tile), right, columns, m, width);
    Pass();
    StoreProduct(scores[TileOffset(tile)], PassTile(), LeftRows(tile), m, columns, cut_.strip_rows);
    Passed();
  }
  __aicore__ inline void Pass() {
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(kPass + pass_);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(kPass + pass_);
  }
  __aicore__ inline void Passed() {
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kPass + pass_);
    pass_ = (pass_ + 1) % kPasses;
  }

  // sum += left^T right; the inner dimension is the tile's rows.
  __aicore__ inline void Grow(const Tile& tile, const AscendC::LocalTensor<float>& sum, const L1Tile& left,
                              const L1Tile& right, int32_t width) {
    panels_.AddTransposedTimes(sum, left, RoundUp(tile.block_rows, kCube), right, LeftRows(tile), width,
                               tile.tokens * p_.group, !tile.opens);
  }

  __aicore__ inline void StorePiece(const Tile& tile) {
    const int32_t rows = RoundUp(tile.block_rows, kCube);
    const PiecePlace place = PlaceOfPiece(p_, tile.piece);
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(kGrown);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(kGrown);
    StoreProduct(exchange_->pieces[place.at], KeyGrads(), rows, rows, p_.d1, p_.d1);
    StoreProduct(exchange_->pieces[place.at + place.floats], ValueGrads(), rows, rows, p_.d2, p_.d2);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kGrown);
  }

  // Score gradients times keys, some columns at a time.
  __aicore__ inline void QueryGrads(const Tile& tile) {
    const int32_t slot = tile.ordinal % kL1Slots, key_rows = RoundUp(tile.block_rows, kCube);
    const L1Tile key = KeyTile(tile.unit_ordinal % kL1Slots);
    const int32_t m = tile.tokens * p_.group, left_rows = LeftRows(tile);
    panels_.StartPieces(ScoreGradTile(slot), left_rows, key, key_rows, p_.d1, tile.rows);
    for (int32_t column = 0; column < p_.d1; column += kColumns) {
      const int32_t columns = Min(p_.d1 - column, kColumns);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kPass + pass_);
      panels_.TimesPiece(PassTile(), left_rows, key_rows, m, column, columns, tile.rows);
      Pass();
      StoreQueryGrads(tile, column, columns);
      Passed();
    }
    panels_.EndPieces();
  }

  __aicore__ inline void StoreQueryGrads(const Tile& tile, int32_t column, int32_t columns) {
    for (int32_t i = 0, count = 0; i < tile.tokens; i += count) {
      const int32_t token = tile.entries[i] / SlotStride(p_), slot = tile.entries[i] % SlotStride(p_);
      const int64_t part = int64_t{slot} * StripsOf(p_) + tile.strip;
      const int64_t place = Rule::FirstPart(p_, token, tile.head) + part * Rule::PartStep(p_);
      count = Rule::kTokensTouch ? NeighboursOf(p_, tile, i, tile.tokens - i) : 1;
      StoreProduct(exchange_->sums[place * p_.group * p_.d1 + column], PassTile()[i * p_.group * kCube],
                   LeftRows(tile), count * p_.group, columns, p_.d1);
    }
  }

  const AttentionParams& p_;
  GM_ADDR workspace_;
  const Source& source_;
  TileCut cut_;
  Segment segment_{};
  TileNumbers numbers_;
  const GradExchange<T>* exchange_ = nullptr;
  int32_t pass_ = 0;
  AscendC::GlobalTensor<T> key_, value_;
  AscendC::TBuf<AscendC::TPosition::A1> l1_;
  AscendC::TBuf<AscendC::TPosition::CO1> l0c_;
  Panels<T> panels_;
};

}  // namespace ms_nsa
