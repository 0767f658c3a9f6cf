// Scores to weights, tile by tile: the AIV's share while the AIC multiplies. A tile's rows see one block
// only, so that each has its own maximum and sum; block_combine.h brings the blocks of a token together.
#pragma once

#include "block_exchange.h"
#include "block_index.h"
#include "online_softmax.h"
#include "score_copy.h"
#include "tile_loops.h"

namespace ms_nsa {

template <class T>
class BlockWeights {
 public:
  using Buffer = AscendC::TBuf<AscendC::TPosition::VECCALC>;

  __aicore__ inline BlockWeights(const AttentionParams& params, Buffer& ub) : p_(params), ub_(ub) {}

  template <class Source, class Other>
  __aicore__ inline void Run(const Source& source, const Segment& segment, const BlockIndex& index,
                             const BlockExchange<T>& exchange, Other& other) {
    exchange_ = &exchange;
    Open();
    TileWalk<BlockIndex, Source> tiles(p_, source, segment, index, ForwardCut(p_),
                                       AscendC::GetBlockIdx() / kVectorCores, AscendC::GetBlockNum());
    WeighTiles(tiles, *this, other);
    Close();
  }

  static constexpr int32_t kAhead = 0;

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
    const SoftmaxScratch scratch{At(kFoldAt, kStatRows * kLanes), At(kSpreadAt, kStatRows * kBlockFloats),
                                 Stat(3)};
    ResetStats(stats);
    SoftmaxStep(Scores(slot), stats, Stat(2), scratch, p_.scale_value, rows, tile.rows, stride);
    const AscendC::LocalTensor<T> weights =
        ub_.template GetWithOffset<T>(kScores, kWeightsAt + slot * kScores * 2);
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

  __aicore__ inline void Skip(const Tile&) {}
  __aicore__ inline void Fetch(const Tile&) {}
  __aicore__ inline void Send(const Tile&) {}

  static constexpr int32_t kRows = kTileRows / kVectorCores, kMaxBlock = 128;
  static_assert(kRows <= kStatRows, "row statistics");

  // UB from offset 0 on.
  static constexpr int32_t kScores = kRows * kMaxBlock;
  static constexpr int32_t kWeightsAt = kSlots * kScores * 4;
  static constexpr int32_t kFoldAt = kWeightsAt + kSlots * kScores * 2;
  static constexpr int32_t kSpreadAt = kFoldAt + kStatRows * kLanes * 4;
  static constexpr int32_t kStatsAt = kSpreadAt + kStatRows * kBlockFloats * 4;
  static constexpr int32_t kStatsOutAt = kStatsAt + 4 * kStatRows * 4;
  static constexpr int32_t kStatsOut = 2 * kStatRows * kBlockFloats;
  static constexpr int32_t kBytes = kStatsOutAt + kSlots * kStatsOut * 4;

 private:
  __aicore__ inline Floats At(int32_t bytes, int32_t floats) {
    return ub_.template GetWithOffset<float>(floats, bytes);
  }
  __aicore__ inline Floats Scores(int32_t slot) { return At(slot * kScores * 4, kScores); }
  __aicore__ inline Floats Stat(int32_t number) { return At(kStatsAt + number * kStatRows * 4, kStatRows); }
  __aicore__ inline Floats StatsOut(int32_t slot) {
    return At(kStatsOutAt + slot * kStatsOut * 4, kStatsOut);
  }

  // Whole vectors of statistics and padded rows of scores take part in instructions: they must hold numbers.
  __aicore__ inline void Open() {
    AscendC::Duplicate(At(0, kSlots * kScores), 0.0f, kSlots * kScores);
    AscendC::Duplicate(At(kStatsAt, 4 * kStatRows), 0.0f, 4 * kStatRows);
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
  Buffer& ub_;
  const BlockExchange<T>* exchange_ = nullptr;
};

}  // namespace ms_nsa
