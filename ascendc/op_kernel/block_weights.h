// SPDX-License-Identifier: Apache-2.0
// Scores to weights, tile by tile: the AIV's share while the AIC multiplies. A tile's rows see one block
// only, so that each has its own maximum and sum; block_combine.h brings the blocks of a token together.
#pragma once

#include "block_exchange.h"
#include "block_index.h"
#include "online_softmax.h"
#include "row_fetch.h"
#include "score_copy.h"

namespace ms_nsa {

template <class T>
class BlockWeights {
 public:
  __aicore__ inline BlockWeights(const AttentionParams& params, const AttentionAddresses& gm,
                                 UnifiedBuffer& ub)
      : p_(params), ub_(ub), fetch_(params, ub, kFetchedAt) {
    fetch_[0].from.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.query));
    fetch_[0].width = params.d1;
  }

  template <class Source, class Other>
  __aicore__ inline void Run(const Source& source, const Segment& segment, const BlockIndex& index,
                             const BlockExchange<T>& exchange, Other& other) {
    segment_ = &segment;
    exchange_ = &exchange;
    fetch_[0].to = exchange.queries;
    Open();
    fetch_.Open();
    TileWalk<BlockIndex, Source> tiles(p_, source, segment, index, ForwardCut(p_),
                                       AscendC::GetBlockIdx() / kVectorCores, AscendC::GetBlockNum());
    WeighTiles(tiles, *this, other);
    fetch_.Close();
    Close();
  }

  static constexpr int32_t kAhead = kFetched;

  __aicore__ inline void Load(const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    if (tokens == 0) return;
    const int32_t slot = tile.ordinal % kSlots;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    CopyScores(Scores(slot), exchange_->scores[TileOffset(tile, first)], tokens * p_.group, tile.rows,
               RoundUp(tile.rows, kLanes), p_.select_block_size);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot);
  }

  __aicore__ inline void Weigh(const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    if (tokens == 0) return;
    const int32_t slot = tile.ordinal % kSlots, rows = tokens * p_.group, stride = RoundUp(tile.rows, kLanes);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot);
    const RowStats stats{Stat(0), Stat(1)};
    const SoftmaxScratch scratch{
        Out(kFoldAt, kStatRows * kLanes), Out(kSpreadAt, kStatRows * kBlockFloats), {}};
    Softmax(Scores(slot), stats, scratch, p_.scale_value, rows, tile.rows, stride);
    ScaleWeights<T>(p_, Scores(slot), rows * stride);
    const AscendC::LocalTensor<T> weights = ub_.Out<T>(slot * kScores * 2, kScores);
    const Floats out = StatsOut(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    AscendC::Cast(weights, Scores(slot), AscendC::RoundMode::CAST_RINT, rows * stride);
    SpreadRows(out, stats.max);
    SpreadRows(out[kStatRows * kBlockFloats], stats.sum);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot);
    CopyWeights(exchange_->weights[TileOffset(tile, first)], weights, rows, tile.rows, stride,
                p_.select_block_size);
    StoreStats(tile, first, tokens, out);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }

  __aicore__ inline void Begin() {}
  __aicore__ inline void Skip(const Tile&) {}
  __aicore__ inline void Fetch(const Tile& tile) { fetch_.Fetch(*segment_, tile); }
  __aicore__ inline void Send(const Tile& tile) { fetch_.Send(tile); }

  static constexpr int32_t kRows = kTileRows / kVectorCores, kMaxBlock = 128;
  static_assert(kRows <= kStatRows, "row statistics");

  // Both halves of UB from offset 0 on: scores and fetched rows; weights, scratch, statistics.
  static constexpr int32_t kScores = kRows * kMaxBlock;
  static constexpr int32_t kFetchedAt = kSlots * kScores * 4;
  static constexpr int32_t kInBytes = kFetchedAt + RowFetch<T, 1>::kBytes;
  static constexpr int32_t kFoldAt = kSlots * kScores * 2;
  static constexpr int32_t kSpreadAt = kFoldAt + kStatRows * kLanes * 4;
  static constexpr int32_t kStatsAt = kSpreadAt + kStatRows * kBlockFloats * 4;
  static constexpr int32_t kStatsOutAt = kStatsAt + 2 * kStatRows * 4;
  static constexpr int32_t kStatsOut = 2 * kStatRows * kBlockFloats;
  static constexpr int32_t kOutBytes = kStatsOutAt + kSlots * kStatsOut * 4;

 private:
  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(at, floats); }
  __aicore__ inline Floats Scores(int32_t slot) { return ub_.In<float>(slot * kScores * 4, kScores); }
  __aicore__ inline Floats Stat(int32_t number) { return Out(kStatsAt + number * kStatRows * 4, kStatRows); }
  __aicore__ inline Floats StatsOut(int32_t slot) {
    return Out(kStatsOutAt + slot * kStatsOut * 4, kStatsOut);
  }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Open() {
    AscendC::Duplicate(ub_.In<float>(0, kSlots * kScores), 0.0f, kSlots * kScores);
    AscendC::Duplicate(Out(kStatsAt, 2 * kStatRows), 0.0f, 2 * kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }
  __aicore__ inline void Close() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }

  __aicore__ inline int64_t TileOffset(const Tile& tile, int32_t first) const {
    return (tile.ordinal % kRing * kTileRows + first * p_.group) * p_.select_block_size;
  }

  __aicore__ inline void StoreStats(const Tile& tile, int32_t first, int32_t tokens, const Floats& stats) {
    const int32_t floats = p_.group * kBlockFloats;
    for (int32_t i = 0; i < tokens; ++i) {
      const AscendC::GlobalTensor<float> gm = exchange_->stats[EntryOf(p_, tile, first + i) * 2 * floats];
      AscendC::DataCopy(gm, stats[i * floats], floats);
      AscendC::DataCopy(gm[floats], stats[kStatRows * kBlockFloats + i * floats], floats);
    }
  }

  const AttentionParams& p_;
  UnifiedBuffer& ub_;
  RowFetch<T, 1> fetch_;
  const Segment* segment_ = nullptr;
  const BlockExchange<T>* exchange_ = nullptr;
};

}  // namespace ms_nsa
