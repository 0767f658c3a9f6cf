// SPDX-License-Identifier: Apache-2.0
// Softmax weights and score gradients of one tile after the other: the AIV's share of the gradient while the
// AIC multiplies. The weights come from the forward's statistics, so that each tile stands alone.
#pragma once

#include "grad_exchange.h"
#include "online_softmax.h"
#include "row_fetch.h"
#include "score_copy.h"
#include "side_work.h"

namespace ms_nsa {

template <class T, class Rule>
class GradWeights {
 public:
  using Source = typename Rule::Source;
  using Index = typename Rule::Index;

  using Side = SideWork<T, Rule>;

  __aicore__ inline GradWeights(const AttentionParams& params, const GradAddresses& gm, const Source& source,
                                UnifiedBuffer& ub, Side& side)
      : p_(params),
        workspace_(gm.workspace),
        source_(source),
        cut_(GradCut(params)),
        ub_(ub),
        side_(side),
        fetch_(params, ub, kFetchedAt) {
    fetch_[0].from.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.query));
    fetch_[0].width = params.d1;
    fetch_[1].from.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.grad));
    fetch_[1].width = params.d2;
    max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  // While the tiles of a segment are worked on, the side work goes on. If they can be told before, the first
  // ones are fetched before the side work of the last segment is finished: the AIC may begin with them.
  __aicore__ inline void Run(const Segment& segment, int64_t number) {
    const int64_t core = AscendC::GetBlockIdx() / kVectorCores;
    const GradExchange<T> exchange(p_, workspace_, core, number);
    segment_ = &segment;
    exchange_ = &exchange;
    begun_ = false;
    if (side_.NeedsIndex()) Begin();
    fetch_[0].to = exchange.queries;
    fetch_[1].to = exchange.grads;
    fetch_.Open();
    const Index index = Rule::IndexOf(source_, segment, exchange.index);
    TileWalk<Index, Source> tiles(p_, source_, segment, index, cut_, core, AscendC::GetBlockNum(), numbers_);
    WeighTiles(tiles, *this, side_);
    numbers_ = tiles.numbers();
    fetch_.Close();
    Close();
  }

  static constexpr int32_t kAhead = kFetched;

  __aicore__ inline void Fetch(const Tile& tile) { fetch_.Fetch(*segment_, tile); }
  __aicore__ inline void Send(const Tile& tile) { fetch_.Send(tile); }

  // Before the first tile is loaded.
  __aicore__ inline void Begin() {
    if (begun_) return;
    begun_ = true;
    side_.Begin();
    has_tops_ = side_.FoundTops();
    Open();
  }

  __aicore__ inline void Load(const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    if (tokens == 0) return;
    const int32_t slot = tile.ordinal % kSlots, rows = tokens * p_.group;
    const int32_t columns = RoundUp(tile.block_rows, 16);
    const int64_t offset = TileOffset(tile, first);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    CopyScores(Matrix(slot, kWeights), exchange_->scores[offset], rows, columns, kColumns, cut_.strip_rows);
    CopyScores(Matrix(slot, kScoreGrads), exchange_->weight_grads[offset], rows, columns, kColumns,
               cut_.strip_rows);
    LoadStats(tile, first, tokens, slot);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot);
  }

  // weight = exp(scale * score - max) / sum; score gradient, but for scale, = weight * (its gradient -
  // delta).
  __aicore__ inline void Weigh(const Tile& tile) {
    const auto [first, tokens] = ShareOf(tile);
    if (tokens == 0) return;
    const int32_t slot = tile.ordinal % kSlots, rows = tokens * p_.group, all = rows * kColumns;
    const Floats weights = Matrix(slot, kWeights), grads = Matrix(slot, kScoreGrads);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot);
    AscendC::Muls(weights, weights, p_.scale_value, all);
    ApplyRows<RowOp::kSub>(grads, Stat(slot, kDelta), rows, kColumns, kColumns);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kSub>(weights, Stat(slot, kMax), rows, kColumns, kColumns);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(weights, weights, all);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kDiv>(weights, Stat(slot, kSum), rows, kColumns, kColumns);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(grads, grads, weights, all);
    AscendC::PipeBarrier<PIPE_V>();
    Hide(tile, first, weights, grads);
    if (has_tops_) AddTops(tile, first, rows, slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Rounded(slot, kWeights), weights, AscendC::RoundMode::CAST_RINT, all);
    AscendC::Cast(Rounded(slot, kScoreGrads), grads, AscendC::RoundMode::CAST_RINT, all);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot);
    Store(tile, first, rows, slot);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }

  // A piece that no token sees: the AIC writes nothing, so one AIV writes zeros.
  __aicore__ inline void Skip(const Tile& tile) {
    Begin();
    if (AscendC::GetSubBlockIdx() != 0) return;
    const int32_t floats = cut_.strip_rows * (p_.d1 + p_.d2);
    const AscendC::GlobalTensor<float> piece = exchange_->pieces[PlaceOfPiece(p_, tile.piece).at];
    const Floats zeros = ub_.Out<float>(kOutAt, kMatrix);  // where rounded matrices lie else
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::Duplicate(zeros, 0.0f, kMatrix);
    AscendC::PipeBarrier<PIPE_ALL>();
    for (int32_t at = 0; at < floats; at += kMatrix) {
      AscendC::DataCopy(piece[at], zeros, Min(floats - at, kMatrix));
    }
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  static constexpr int32_t kRows = kTileRows / kVectorCores, kMatrix = kRows * kColumns;
  static constexpr int32_t kLanesOfRows = kRows * kBlockFloats;
  static constexpr int32_t kWeights = 0, kScoreGrads = 1;              // matrices
  static constexpr int32_t kMax = 0, kSum = 1, kDelta = 2, kTops = 3;  // statistics
  static constexpr int32_t kStatVectors = 4;
  static_assert(kRows >= kMaxGroup, "a token's query heads");

  // Behind what the side work has of both halves of UB, two slots of each: matrices, statistics, fetched
  // rows; rounded matrices.
  static constexpr int32_t kInAt = Side::kInBytes, kOutAt = Side::kOutBytes;
  static constexpr int32_t kStatsAt = kInAt + kSlots * 2 * kMatrix * 4;

 public:
  static constexpr int32_t kFetchedAt = kStatsAt + kSlots * kStatVectors * kLanesOfRows * 4;
  static constexpr int32_t kInBytes = kFetchedAt + RowFetch<T, 2>::kBytes;
  static constexpr int32_t kOutBytes = kOutAt + kSlots * 2 * kMatrix * 2;

 private:
  __aicore__ inline Floats Matrix(int32_t slot, int32_t which) {
    return ub_.In<float>(kInAt + (slot * 2 + which) * kMatrix * 4, kMatrix);
  }
  __aicore__ inline AscendC::LocalTensor<T> Rounded(int32_t slot, int32_t which) {
    return ub_.Out<T>(kOutAt + (slot * 2 + which) * kMatrix * 2, kMatrix);
  }
  __aicore__ inline Floats Stat(int32_t slot, int32_t which) {
    return ub_.In<float>(kStatsAt + (slot * kStatVectors + which) * kLanesOfRows * 4, kLanesOfRows);
  }

  // Rows narrower than kColumns take part in instructions as a whole: what fills them up must hold numbers.
  __aicore__ inline void Open() {
    AscendC::Duplicate(ub_.In<float>(kInAt, kSlots * 2 * kMatrix), 0.0f, kSlots * 2 * kMatrix);
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
    return (tile.ordinal % kRing * kTileRows + first * p_.group) * cut_.strip_rows;
  }

  __aicore__ inline void LoadStats(const Tile& tile, int32_t first, int32_t tokens, int32_t slot) {
    const int32_t floats = p_.group * kBlockFloats;
    const int64_t stride = int64_t{p_.kv_heads} * floats, start = segment_->row * stride;
    for (int32_t i = 0, count = 0; i < tokens; i += count) {
      count = NeighboursOf(p_, tile, first + i, tokens - i);
      const int64_t token = tile.entries[first + i] / SlotStride(p_);
      const int64_t at = i * floats, place = token * stride + tile.head * floats;
      CopyPieces(Stat(slot, kMax)[at], max_[start + place], count, floats, stride);
      CopyPieces(Stat(slot, kSum)[at], sum_[start + place], count, floats, stride);
      CopyPieces(Stat(slot, kDelta)[at], exchange_->deltas[place], count, floats, stride);
      for (int32_t n = 0; has_tops_ && n < count; ++n)
        LoadTops(Stat(slot, kTops)[(i + n) * TopsStride()], (place + n * stride) / kBlockFloats);
    }
  }

  // Rows of the strip that the tile's tokens do not see get weight and gradient 0, whatever lies there.
  __aicore__ inline void Hide(const Tile& tile, int32_t first, const Floats& weights, const Floats& grads) {
    const int32_t tokens = ShareOf(tile).tokens;
    if (!tile.mixed) {
      HideRows(tile, {tile.rows, tile.hidden}, weights, grads, tokens * p_.group);
      return;
    }
    VisibleRows visible = VisibleTo(tile, first);
    for (int32_t i = 0, count = 1; i < tokens; i += count, count = 1) {
      const VisibleRows seen = visible;
      for (; i + count < tokens; ++count) {  // tokens that see the same share instructions
        visible = VisibleTo(tile, first + i + count);
        if (visible.rows != seen.rows || visible.hidden != seen.hidden) break;
      }
      const int32_t at = i * p_.group * kColumns;
      HideRows(tile, seen, weights[at], grads[at], count * p_.group);
    }
  }
  __aicore__ inline VisibleRows VisibleTo(const Tile& tile, int32_t entry) const {
    const int32_t token = tile.entries[entry] / SlotStride(p_);
    return VisibleOf(p_, source_, *segment_, token, tile.row, tile.block_rows);
  }
  __aicore__ inline void HideRows(const Tile& tile, const VisibleRows& visible, const Floats& weights,
                                  const Floats& grads, int32_t rows) {
    const int32_t columns = RoundUp(tile.block_rows, 16);
    uint64_t hidden[2] = {visible.hidden, 0};
    if (visible.rows < columns) hidden[0] |= ~uint64_t{0} << visible.rows;
    if (hidden[0] == 0) return;
    AscendC::Duplicate(weights, 0.0f, hidden, rows, 1, kColumns / kBlockFloats);
    AscendC::Duplicate(grads, 0.0f, hidden, rows, 1, kColumns / kBlockFloats);
  }

  __aicore__ inline void Store(const Tile& tile, int32_t first, int32_t rows, int32_t slot) {
    const int32_t columns = RoundUp(tile.block_rows, 16);
    const int64_t offset = TileOffset(tile, first);
    CopyWeights(exchange_->weights[offset], Rounded(slot, kWeights), rows, columns, kColumns,
                cut_.strip_rows);
    CopyWeights(exchange_->score_grads[offset], Rounded(slot, kScoreGrads), rows, columns, kColumns,
                cut_.strip_rows);
  }

  // Floats from token to token.
  __aicore__ inline int32_t TopsStride() const { return RoundUp(p_.group * kTopFloats, kBlockFloats); }

  __aicore__ inline void LoadTops(const Floats& to, int64_t row) {
    const uint32_t bytes = p_.group * kTopFloats * 4;
    AscendC::DataCopyPad(to, exchange_->tops[row * kTopFloats], {1, bytes, 0, 0, 0}, {false, 0, 0, 0.0f});
  }

  // Adds what the statistics' gradients put on a row's largest score, once: where its key's block is listed
  // first.
  __aicore__ inline void AddTops(const Tile& tile, int32_t first, int32_t rows, int32_t slot) {
    const Floats grads = Matrix(slot, kScoreGrads);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(0);
    for (int32_t row = 0; row < rows; ++row) {
      const Floats top = Stat(slot, kTops)[row / p_.group * TopsStride() + row % p_.group * kTopFloats];
      const int32_t key = top.template ReinterpretCast<int32_t>().GetValue(1);
      const int64_t column = int64_t{key} - 1 - tile.row, at = row * kColumns + column;
      if (key == 0 || column < 0 || column >= tile.rows) continue;
      const int32_t entry = tile.entries[first + row / p_.group];
      if (!Rule::IsFirst(p_, source_, *segment_, tile, entry)) continue;
      grads.SetValue(at, grads.GetValue(at) + top.GetValue(0));
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(0);
  }

  const AttentionParams& p_;
  GM_ADDR workspace_;
  const Source& source_;
  TileCut cut_;
  UnifiedBuffer& ub_;
  Side& side_;
  bool has_tops_ = false, begun_ = false;
  TileNumbers numbers_;
  const Segment* segment_ = nullptr;
  const GradExchange<T>* exchange_ = nullptr;
  RowFetch<T, 2> fetch_;
  AscendC::GlobalTensor<float> max_, sum_;
};

}  // namespace ms_nsa
