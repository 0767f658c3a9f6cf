// SPDX-License-Identifier: Apache-2.0
// The AIC's half of the block-outer forward: keys and values of a block are loaded once, the queries of the
// tokens that selected it tile by tile, as the AIVs fetched them. Tile t's scores come before tile (t -
// kPreload)'s products.
#pragma once

#include "block_exchange.h"
#include "block_index.h"
#include "panels.h"
#include "tile_loops.h"

namespace ms_nsa {

template <class T>
class BlockCube {
 public:
  __aicore__ inline BlockCube(const AttentionParams& params, const AttentionAddresses& gm,
                              AscendC::TPipe& pipe)
      : p_(params),
        source_(params, gm),
        index_{ForwardIndex(params, gm.workspace, 0), ForwardIndex(params, gm.workspace, 1)},
        exchange_{{params, gm.workspace, AscendC::GetBlockIdx(), 0},
                  {params, gm.workspace, AscendC::GetBlockIdx(), 1}},
        panels_(pipe) {
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.value));
    pipe.InitBuffer(l1_, kBytes);
    pipe.InitBuffer(l0c_, kL0cBytes);
  }

  __aicore__ inline void Run() {
    OpenFlags();
    SegmentWalk<PackedSource> segments(p_, source_);
    while (segments.Next(segment_)) {
      AscendC::SyncAll<false>();
      index_[parity_].Invalidate();
      RunSegment();
      parity_ = 1 - parity_;
    }
    AscendC::SyncAll<false>();
    CloseFlags();
  }

  __aicore__ inline void Begin(const Tile& tile) {
    LoadTile(tile);
    MultiplyScores(tile);
  }

  __aicore__ inline void Finish(const Tile& tile, const Tile* next) {
    MultiplyValues(tile);
    if (next == nullptr || next->first) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kBlock + tile.unit_ordinal % kRing);
    }
  }

 private:
  using L1Tile = AscendC::LocalTensor<T>;

  static constexpr int32_t kMaxBlock = 128;  // select_block_size
  static constexpr int32_t kKeyBytes = kMaxBlock * kMaxWidth * 2, kQueryBytes = kTileRows * kMaxWidth * 2;
  static constexpr int32_t kWeightBytes = kTileRows * kMaxBlock * 2;
  static constexpr int32_t kValueAt = kRing * kKeyBytes, kQueryAt = 2 * kRing * kKeyBytes;
  static constexpr int32_t kWeightAt = kQueryAt + kSlots * kQueryBytes;
  static constexpr int32_t kBytes = kWeightAt + kWeightBytes;
  static_assert(kBytes <= kL1Bytes, "L1");

  static constexpr int32_t kL0cBytes = 131072;
  static constexpr int32_t kScoresFloats = kTileRows * kMaxBlock, kProductFloats = kTileRows * kMaxWidth;
  static_assert((kSlots * kScoresFloats + kProductFloats) * 4 <= kL0cBytes, "L0C");

  // Events: of (MTE2, MTE1) and back for each slot of queries, for the weights and for each slot of key and
  // value; of (M, FIX) and back for each slot of scores and of products.
  static constexpr int32_t kQuery = 0, kWeights = 2, kBlock = 3, kScores = 0, kProduct = 2;

  __aicore__ inline L1Tile At(int32_t bytes, int32_t elements) {
    return l1_.template GetWithOffset<T>(elements, bytes);
  }
  __aicore__ inline L1Tile KeyTile(int32_t slot) { return At(slot * kKeyBytes, kMaxBlock * kMaxWidth); }
  __aicore__ inline L1Tile ValueTile(int32_t slot) {
    return At(kValueAt + slot * kKeyBytes, kMaxBlock * kMaxWidth);
  }
  __aicore__ inline L1Tile QueryTile(int32_t slot) {
    return At(kQueryAt + slot * kQueryBytes, kTileRows * kMaxWidth);
  }
  __aicore__ inline L1Tile WeightTile() { return At(kWeightAt, kTileRows * kMaxBlock); }
  __aicore__ inline AscendC::LocalTensor<float> ScoresTile(int32_t slot) {
    return l0c_.template GetWithOffset<float>(kScoresFloats, slot * kScoresFloats * 4);
  }
  // Two slots where they fit: else the product of a tile waits for the one before to leave L0C.
  __aicore__ inline int32_t ProductSlot(const Tile& tile) const {
    return 2 * kTileRows * p_.d2 <= kProductFloats ? tile.ordinal % 2 : 0;
  }
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
    for (int32_t slot = 0; slot < kRing; ++slot)
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kBlock + slot);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kWeights);
    panels_.Open();
  }
  __aicore__ inline void CloseFlags() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kProduct + slot);
    }
    for (int32_t slot = 0; slot < kRing; ++slot)
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kBlock + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kWeights);
    panels_.Close();
  }

  __aicore__ inline void RunSegment() {
    TileWalk<BlockIndex, PackedSource> tiles(p_, source_, segment_, index_[parity_], ForwardCut(p_),
                                             AscendC::GetBlockIdx(), AscendC::GetBlockNum());
    BeginAndFinish(tiles, *this);
  }

  __aicore__ inline int64_t TileOffset(const Tile& tile) const {
    return tile.ordinal % kRing * kTileRows * p_.select_block_size;
  }
  __aicore__ inline int32_t LeftRows(const Tile& tile) const {
    return RoundUp(tile.tokens * p_.group, kCube);
  }

  __aicore__ inline void LoadTile(const Tile& tile) {
    const int32_t slot = tile.ordinal % kSlots;
    if (tile.first) LoadBlock(tile);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + slot);
    AscendC::CrossCoreWaitFlag(kRowsReady);
    const int32_t stride = RowStride(p_.d1), m = tile.tokens * p_.group, left_rows = LeftRows(tile);
    LoadRows(QueryTile(slot), exchange_[parity_].queries[tile.ordinal % kFetched * kTileRows * stride], m,
             p_.d1, stride, left_rows);
    ClearSecondRow(QueryTile(slot), m, p_.d1, left_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kQuery + slot);
  }

  __aicore__ inline void LoadBlock(const Tile& tile) {
    const int32_t slot = tile.unit_ordinal % kRing, rows = tile.block_rows, tile_rows = RoundUp(rows, kCube);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kBlock + slot);
    const int64_t row = (segment_.kv_start + tile.row) * p_.kv_heads + tile.head;
    LoadRows(KeyTile(slot), key_[row * p_.d1], rows, p_.d1, int64_t{p_.kv_heads} * p_.d1, tile_rows);
    LoadRows(ValueTile(slot), value_[row * p_.d2], rows, p_.d2, int64_t{p_.kv_heads} * p_.d2, tile_rows);
    ClearRows(KeyTile(slot), rows, p_.d1, tile_rows);
    ClearRows(ValueTile(slot), rows, p_.d2, tile_rows);
  }

  __aicore__ inline void MultiplyScores(const Tile& tile) {
    const int32_t slot = tile.ordinal % kSlots, rows = RoundUp(tile.block_rows, kCube);
    const int32_t m = tile.tokens * p_.group;
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kQuery + slot);
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
    panels_.TimesTransposed(ScoresTile(slot), QueryTile(slot), LeftRows(tile),
                            KeyTile(tile.unit_ordinal % kRing), rows, m, p_.d1);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kQuery + slot);
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(kScores + slot);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(kScores + slot);
    StoreProduct(exchange_[parity_].scores[TileOffset(tile)], ScoresTile(slot), LeftRows(tile), m, rows,
                 p_.select_block_size);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kScores + slot);
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
  }

  __aicore__ inline void MultiplyValues(const Tile& tile) {
    const int32_t m = tile.tokens * p_.group, left_rows = LeftRows(tile);
    const int32_t product = ProductSlot(tile);
    const L1Tile weights = WeightTile();
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(kWeights);
    AscendC::CrossCoreWaitFlag(kWeightsReady);
    ClearSecondRow(weights, m, RoundUp(tile.rows, kCube), left_rows);
    LoadRows(weights, exchange_[parity_].weights[TileOffset(tile)], m, tile.rows, p_.select_block_size,
             left_rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(kWeights);
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(kProduct + product);
    panels_.Times(ProductTile(product), weights, left_rows, ValueTile(tile.unit_ordinal % kRing),
                  RoundUp(tile.block_rows, kCube), m, p_.d2, tile.rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(kWeights);
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(kProduct + product);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(kProduct + product);
    for (int32_t i = 0; i < tile.tokens; ++i) {
      StoreProduct(exchange_[parity_].sums[EntryOf(p_, tile, i) * p_.group * p_.d2],
                   ProductTile(product)[i * p_.group * kCube], left_rows, p_.group, p_.d2, p_.d2);
    }
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(kProduct + product);
  }

  const AttentionParams& p_;
  PackedSource source_;
  BlockIndex index_[2];  // by parity of the segment, like the next
  BlockExchange<T> exchange_[2];
  Segment segment_{};
  int32_t parity_ = 0;
  AscendC::GlobalTensor<T> key_, value_;
  AscendC::TBuf<AscendC::TPosition::A1> l1_;
  AscendC::TBuf<AscendC::TPosition::CO1> l0c_;
  Panels<T> panels_;
};

}  // namespace ms_nsa
