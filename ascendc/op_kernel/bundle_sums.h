// SPDX-License-Identifier: Apache-2.0
// From pieces to the result of a unit, for the query heads of one AIV. The products of a bundle's pieces are
// brought to their common maximum and added in pairs; bundles are added one after the other. Both go by the
// unit's rows alone, whoever did them.
#pragma once

#include "attention_buffers.h"
#include "row_pieces.h"

namespace ms_nsa {

// Pieces of a bundle whose products a core has, one behind the other.
struct PieceRun {
  int64_t core;
  int32_t slot;
  int32_t first, count;  // inside the bundle
};

class BundleSums {
 public:
  __aicore__ inline BundleSums(const AttentionParams& params, GM_ADDR workspace, AttentionBuffers& ub,
                               int32_t first_row, int32_t rows)
      : p_(params), workspace_(workspace), ub_(ub), first_row_(first_row), rows_(rows) {}

  // Events of (MTE2, V): one for each slot of products.
  static constexpr int32_t kProducts = 2;

  __aicore__ inline void StartUnit() { any_ = false; }

  // A bundle: what its pieces are worth at their common maximum, then their products, then the bundle is
  // added to those before.
  __aicore__ inline void Weigh(const RowStats& pieces, int32_t count) {
    const RowStats stats = NewStats();
    const Floats factors = ub_.Factors();
    constexpr uint8_t kStep = kMaxRows / kBlockFloats;
    const int32_t half = CeilDiv(count, 2);
    AscendC::Max(stats.max, pieces.max, pieces.max[(count - half) * kMaxRows], half * kMaxRows);
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<true>(stats.max, half, kMaxRows);
    AscendC::Sub(factors, pieces.max, stats.max, static_cast<uint64_t>(kMaxRows), count,
                 {1, 1, 1, kStep, kStep, 0});
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(factors, factors, count * kMaxRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(stats.sum, pieces.sum, factors, count * kMaxRows);
    AscendC::Brcb(ub_.Spread(), factors, count * kStep, {1, kBlockFloats});
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<false>(stats.sum, count, kMaxRows);
  }

  __aicore__ inline void Sum(const PieceRun* runs, int32_t run_count, int32_t pieces) {
    const int32_t most = AttentionBuffers::kProduct / (kBundlePieces * p_.d2);
    for (int32_t row = 0; row < rows_; row += most) {
      const int32_t rows = Min(most, rows_ - row), event = kProducts + slot_;
      const Floats products = ub_.Product(slot_);
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(event);
      for (int32_t run = 0; run < run_count; ++run) LoadRun(products, runs[run], row, rows);
      AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(event);
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(event);
      ApplyFactors(products, row, rows, pieces);
      AscendC::PipeBarrier<PIPE_V>();
      FoldVectors<false>(NewSum()[row * p_.d2], products, pieces, rows * p_.d2);
      if (pieces == 1) CopyFloats(NewSum()[row * p_.d2], products, rows * p_.d2);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(event);
      slot_ = 1 - slot_;
    }
  }

  __aicore__ inline void Include() {
    if (!any_) {
      any_ = true;
      sum_ = 1 - sum_;
      return;
    }
    const RowStats stats = Stats(), other = NewStats();
    const Floats decay = ub_.Decay(0), other_decay = ub_.Decay(1);
    const Floats spread = ub_.Spread(), other_spread = spread[kStatRows * kBlockFloats];
    RaiseMax(stats.max, other.max, decay);
    RaiseMax(other.max, stats.max, other_decay);
    AscendC::Mul(stats.sum, stats.sum, decay, kStatRows);
    AscendC::Mul(other.sum, other.sum, other_decay, kStatRows);
    SpreadRows(spread, decay);
    SpreadRows(other_spread, other_decay);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Add(stats.sum, stats.sum, other.sum, kStatRows);
    ApplyRows<RowOp::kMul>(Total(), spread, rows_, p_.d2, p_.d2);
    ApplyRows<RowOp::kMul>(NewSum(), other_spread, rows_, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Add(Total(), Total(), NewSum(), rows_ * p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // All bundles of the unit are there, or it has none.
  __aicore__ inline void EndUnit() {
    if (any_) return;
    ResetStats(Stats());
    AscendC::Duplicate(Total(), 0.0f, rows_ * p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }
  __aicore__ inline RowStats Stats() { return ub_.Stats(sum_); }
  __aicore__ inline Floats Total() { return ub_.Sum(sum_); }

  // Of a bundle that is not added yet.
  __aicore__ inline RowStats NewStats() { return ub_.Stats(1 - sum_); }
  __aicore__ inline Floats NewSum() { return ub_.Sum(1 - sum_); }

  // The slot of products, and of loaded statistics, that the next sum does not take.
  __aicore__ inline int32_t SpareSlot() const { return 1 - slot_; }

 private:
  __aicore__ inline void LoadRun(const Floats& products, const PieceRun& run, int32_t row, int32_t rows) {
    const CoreArea area = AreaOf(p_);
    AscendC::GlobalTensor<float> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace_ + run.core * area.bytes + area.products));
    const int64_t at = (run.slot * kBundlePieces + run.first) * p_.group + first_row_ + row;
    CopyPieces(products[run.first * rows * p_.d2], gm[at * p_.d2], run.count, rows * p_.d2,
               int64_t{p_.group} * p_.d2);
  }

  // products [pieces, rows, d2] of rows [row, row + rows): the shorter of two ways to go over them.
  __aicore__ inline void ApplyFactors(const Floats& products, int32_t row, int32_t rows, int32_t pieces) {
    if (rows > pieces) {
      for (int32_t piece = 0; piece < pieces; ++piece) {
        const Floats spread = ub_.Spread()[(piece * kMaxRows + row) * kBlockFloats];
        ApplyRows<RowOp::kMul>(products[piece * rows * p_.d2], spread, rows, p_.d2, p_.d2);
      }
      return;
    }
    const uint8_t step = rows * p_.d2 / kBlockFloats;
    for (int32_t i = 0; i < rows; ++i) {
      const Floats spread = ub_.Spread()[(row + i) * kBlockFloats];
      for (int32_t c = 0; c < p_.d2; c += kLanes) {
        const Floats part = products[i * p_.d2 + c];
        AscendC::Mul(part, part, spread, static_cast<uint64_t>(Min(p_.d2 - c, kLanes)), pieces,
                     {1, 1, 0, step, step, kMaxRows});
      }
    }
  }

  const AttentionParams& p_;
  GM_ADDR workspace_;
  AttentionBuffers& ub_;
  int32_t first_row_, rows_;  // query heads of a group
  bool any_ = false;          // bundles are added
  int32_t sum_ = 0;           // which of two buffers has their sum; the other one is for the next bundle
  int32_t slot_ = 0;          // of products
};

}  // namespace ms_nsa
