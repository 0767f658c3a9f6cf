// SPDX-License-Identifier: Apache-2.0
// What the dense schedule leaves of a tile: attention_out and the statistics of an AIV's tokens.
#pragma once

#include "dense_buffers.h"
#include "dense_share.h"

namespace ms_nsa {

template <class T>
class DenseResult {
 public:
  __aicore__ inline DenseResult(const DenseParams& params, const DenseAddresses& gm, DenseBuffers& ub)
      : params_(params), p_(params.attention), ub_(ub) {
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
    out_max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    out_sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  __aicore__ inline void Open() {
    for (int32_t event = 0; event < kSlots + 1; ++event)
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kResults + event);
  }
  __aicore__ inline void Close() {
    for (int32_t event = 0; event < kSlots + 1; ++event)
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults + event);
  }

  // False if something that is not finite has reached the results.
  __aicore__ inline bool Store(const DenseTile& tile, const DenseShare& share, const RowStats& stats) {
    bool finite = true;
    const int32_t rows = share.tokens * p_.group;
    if (params_.need_output) {
      const SoftmaxScratch scratch = ub_.Scratch();
      DivisorOf<T>(p_, scratch.row, stats.sum, kStatRows);
      AscendC::PipeBarrier<PIPE_V>();
      SpreadRows(scratch.spread, scratch.row);
      AscendC::PipeBarrier<PIPE_V>();
      ApplyRows<RowOp::kDiv>(ub_.Sum(), scratch.spread, rows, p_.d2, p_.d2);
      AscendC::PipeBarrier<PIPE_V>();
      finite = tile.tokens == 1 || IsFinite(rows);
      StoreRows(tile, share);
    }
    StoreStatistics(tile, share, stats);
    return finite;
  }

  // Of a tile that sees nothing.
  __aicore__ inline void StoreNothing(const DenseTile& tile) {
    const DenseShare share = ShareOf(tile);
    if (share.tokens == 0) return;
    const RowStats stats{ub_.Factor(), ub_.Inverse()};
    AscendC::PipeBarrier<PIPE_V>();
    ResetStats(stats);
    for (int32_t row = 0, slot = 0; params_.need_output && row < share.tokens * p_.group; slot = 1 - slot) {
      const int32_t rows = RowsFrom(share, row);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults + slot);
      AscendC::Duplicate(ub_.template Result<T>(slot).template ReinterpretCast<half>(),
                         static_cast<half>(0.0f), rows * p_.d2);
      StorePiece(tile, share, row, rows, slot);
      row += rows;
    }
    StoreStatistics(tile, share, stats);
  }

 private:
  static constexpr int32_t kResults = 2, kLanesOut = 4;  // events of (MTE3, V) and back

  // Query rows from `row` on that are rounded and stored in one go: whole tokens, or a part of one.
  __aicore__ inline int32_t RowsFrom(const DenseShare& share, int32_t row) const {
    const int32_t most = kPiece / p_.d2;
    if (p_.group > most) return Min(most, p_.group - row % p_.group);
    return Min(most / p_.group * p_.group, share.tokens * p_.group - row);
  }

  __aicore__ inline void StoreRows(const DenseTile& tile, const DenseShare& share) {
    for (int32_t row = 0, slot = 0; row < share.tokens * p_.group; slot = 1 - slot) {
      const int32_t rows = RowsFrom(share, row);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kResults + slot);
      AscendC::Cast(ub_.template Result<T>(slot), ub_.Sum()[row * p_.d2], AscendC::RoundMode::CAST_RINT,
                    rows * p_.d2);
      StorePiece(tile, share, row, rows, slot);
      row += rows;
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void StorePiece(const DenseTile& tile, const DenseShare& share, int32_t row, int32_t rows,
                                    int32_t slot) {
    const int32_t group = p_.group, heads = Min(group, rows);
    const uint32_t bytes = heads * p_.d2 * sizeof(T);
    const uint32_t skip = (p_.kv_heads * group - heads) * p_.d2 * sizeof(T);
    const int64_t place = QueryRow(p_, tile, share.first + row / group) + row % group;
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kResults + slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kResults + slot);
    AscendC::DataCopyPad(out_[place * p_.d2], ub_.template Result<T>(slot),
                         {static_cast<uint16_t>(rows / heads), bytes, 0, skip, 0});
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kResults + slot);
  }

  // The sum of a row is finite if all of it is; a sum beyond float is taken for the same.
  __aicore__ inline bool IsFinite(int32_t rows) {
    const Floats sums = ub_.Scratch().fold;
    constexpr int32_t kAll = kMaxWidth / kLanes * kStatRows;
    AscendC::Duplicate(sums, 0.0f, kAll);
    AscendC::PipeBarrier<PIPE_V>();
    for (int32_t c = 0; c < p_.d2; c += kLanes) {
      AscendC::WholeReduceSum(sums[c / kLanes * kStatRows], ub_.Sum()[c], Min(p_.d2 - c, kLanes), rows, 1, 1,
                              p_.d2 / kBlockFloats);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Muls(sums, sums, 0.0f, kAll);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::WholeReduceSum(sums[kAll], sums, kLanes, kAll / kLanes, 1, 1, kLanes / kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(0);
    bool finite = true;
    for (int32_t i = 0; i < kAll / kLanes; ++i) finite = finite && sums.GetValue(kAll + i) == 0.0f;
    AscendC::SetFlag<AscendC::HardEvent::S_V>(0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(0);
    return finite;
  }

  __aicore__ inline void StoreStatistics(const DenseTile& tile, const DenseShare& share,
                                         const RowStats& stats) {
    const SoftmaxScratch scratch = ub_.Scratch();
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kLanesOut);
    SpreadRows(ub_.Lanes(1), stats.sum);
    FinishMax(stats, scratch.row, scratch.fold, kStatRows);
    SpreadRows(ub_.Lanes(0), stats.max);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kLanesOut);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kLanesOut);
    const uint16_t tokens = share.tokens;
    const uint32_t bytes = p_.group * kBlockFloats * 4, skip = (p_.kv_heads - 1) * bytes;
    const int64_t place = QueryRow(p_, tile, share.first) * kBlockFloats;
    AscendC::DataCopyPad(out_max_[place], ub_.Lanes(0), {tokens, bytes, 0, skip, 0});
    AscendC::DataCopyPad(out_sum_[place], ub_.Lanes(1), {tokens, bytes, 0, skip, 0});
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kLanesOut);
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  DenseBuffers& ub_;
  AscendC::GlobalTensor<T> out_;
  AscendC::GlobalTensor<float> out_max_, out_sum_;
};

}  // namespace ms_nsa
