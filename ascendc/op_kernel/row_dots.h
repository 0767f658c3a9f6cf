// SPDX-License-Identifier: Apache-2.0
// delta = sum of grad * attention_out over a row, less what softmax_sum's gradient adds to all of its scores;
// eight times, for all rows of a segment, evenly over the AIVs. Some rows a step, beside the tiles of the
// segment before.
#pragma once

#include "grad_exchange.h"
#include "side_buffers.h"
#include "statistics_grad.h"
#include "top_search.h"

namespace ms_nsa {

template <class T, class Rule>
class RowDots {
 public:
  __aicore__ inline RowDots(const AttentionParams& params, const GradAddresses& gm,
                            const typename Rule::Source& source, UnifiedBuffer& ub, SideBuffers& buffers)
      : p_(params),
        buffers_(buffers),
        rows_(Min(kMostRows, kRawBytes / (4 * params.d2) / kBlockFloats * kBlockFloats)),
        statistics_(params, gm, buffers, kRawBytes, kStatisticsAt),
        search_(params, gm, source, ub),
        exchange_(params, gm.workspace, 0, 0) {
    grad_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.grad));
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
  }

  // To be followed by any number of Step() and by Finish().
  __aicore__ inline void Start(const Segment& segment, const GradExchange<T>& exchange) {
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, core = AscendC::GetBlockIdx();
    const int64_t rows = segment.tokens * p_.kv_heads * p_.group;
    segment_ = segment;
    exchange_ = exchange;
    first_ = row_ = Quota(rows, core, cores);
    end_ = Quota(rows, core + 1, cores);
    wanted_ = false;
    told_ = !HasStatisticsGrad(p_);
  }

  __aicore__ inline int64_t Steps() const { return CeilDiv<int64_t>(end_ - row_, rows_); }

  // Loads some rows, makes the deltas of those loaded before, and leaves what the statistics want of the lot
  // before that one; false when there was nothing left to do.
  __aicore__ inline bool Step() {
    const Lot lot = NextLot();
    if (lot.rows == 0 && loaded_.rows == 0 && dotted_.rows == 0) return TellNone();
    if (lot.rows > 0) Load(lot);
    if (dotted_.rows > 0) Leave(dotted_);
    if (loaded_.rows > 0) Dot(loaded_);
    dotted_ = loaded_;
    loaded_ = lot;
    return true;
  }

  // Whether what is left to do takes all of UB.
  __aicore__ inline bool Searches() const { return wanted_; }

  __aicore__ inline void Finish() {
    while (Step()) {
    }
    if (wanted_) Tell(search_.Run(segment_, exchange_, first_, end_));
    wanted_ = false;
  }

  // Whether any AIV put something into tops, when all have told.
  __aicore__ inline bool Found(const GradExchange<T>& exchange) {
    constexpr int32_t kFloats = kUsedBytes / 4;
    const int32_t cores = AscendC::GetBlockNum();
    const Floats used = buffers_.Loaded<float>(slot_);
    const uint32_t skip = exchange.core_floats * 4 - kUsedBytes;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvents + slot_);
    AscendC::DataCopyPad(used, exchange.used, {static_cast<uint16_t>(cores), kUsedBytes, skip, 0, 0},
                         {false, 0, 0, 0.0f});
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvents + slot_);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvents + slot_);
    FoldVectors<true>(used, cores, kFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvents + slot_);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvents + slot_);
    const bool found = used.GetValue(0) != 0.0f || used.GetValue(kBlockFloats) != 0.0f;
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvents + slot_);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvents + slot_);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvents + slot_);
    return found;
  }

 private:
  struct Lot {
    int64_t row;
    int32_t rows;  // 0: none
    int32_t slot;
    int32_t first;  // where it lies among the rows whose statistics come in one go
    int32_t all;    // how many these are; with their first lot they are loaded and weighed
  };

  __aicore__ inline Lot NextLot() const {
    constexpr int64_t kRows = StatisticsGrad<T>::kRows;
    const int32_t first = (row_ - first_) % kRows, rows = Min<int64_t>(end_ - row_, rows_);
    return {row_, rows, slot_, first, static_cast<int32_t>(Min(end_ - row_ + first, kRows))};
  }
  __aicore__ inline bool Weighs(const Lot& lot) const { return HasStatisticsGrad(p_) && lot.first == 0; }

  // A slot: rows of grad and attention_out, then the statistics'. A result: sums of rows and what spreads
  // them, then the statistics'.
  static constexpr int32_t kRawBytes = 8192, kMostRows = 16;
  static_assert(StatisticsGrad<T>::kRows / kMostRows % kSlots == 0, "rows that come in one go use one slot");
  static constexpr int32_t kSpreadAt = kLanes * 4, kStatisticsAt = 1024;
  static_assert(kSpreadAt + kMostRows * kBlockFloats * 4 <= kStatisticsAt, "rows");
  static_assert(kRawBytes + StatisticsGrad<T>::kInBytes <= SideBuffers::kFloats * 4, "a slot");
  static_assert(kStatisticsAt + StatisticsGrad<T>::kOutBytes <= SideBuffers::kFloats * 2, "a result");
  static_assert(kRawBytes <= SideBuffers::kFloats * 2, "in float");
  static_assert(kRawBytes / (4 * kMaxWidth) >= kBlockFloats, "rows");

  static constexpr int32_t kEvents = SideBuffers::kEvents;

  __aicore__ inline void Load(const Lot& lot) {
    const int32_t elements = lot.rows * p_.d2;
    const int64_t row = segment_.row * p_.kv_heads * p_.group + lot.row;
    const AscendC::LocalTensor<T> raw = buffers_.Loaded<T>(lot.slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvents + lot.slot);
    AscendC::DataCopy(raw, grad_[row * p_.d2], elements);
    AscendC::DataCopy(raw[elements], out_[row * p_.d2], elements);
    if (Weighs(lot)) statistics_.Load(lot.slot, row, lot.all);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvents + lot.slot);
    row_ += lot.rows;
    slot_ = 1 - slot_;
  }

  __aicore__ inline void Dot(const Lot& lot) {
    const int32_t slot = lot.slot;
    const Floats sums = buffers_.Result<float>(slot), spread = buffers_.Result<float>(slot, kSpreadAt);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvents + slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot);
    AscendC::Duplicate(sums, 0.0f, kLanes);
    Multiply(lot);
    if (Weighs(lot)) {
      statistics_.Weigh(slot, lot.all);
      weighed_ = slot;
    }
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvents + slot);
    AscendC::WholeReduceSum(sums, buffers_.Array(), Min(p_.d2, kLanes), lot.rows, 1, 1, p_.d2 / kBlockFloats);
    AscendC::PipeBarrier<PIPE_V>();
    if (HasStatisticsGrad(p_)) statistics_.Take(sums, weighed_, lot.first, lot.rows);
    AscendC::Brcb(spread, sums, CeilDiv(lot.rows, kBlockFloats), {1, kBlockFloats});
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot);
    AscendC::DataCopy(exchange_.deltas[lot.row * kBlockFloats], spread, lot.rows * kBlockFloats);
  }

  __aicore__ inline void Leave(const Lot& lot) {
    if (Weighs(lot)) wanted_ |= statistics_.Store(exchange_, lot.slot, lot.row, lot.all);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvents + lot.slot);
  }

  // Tells the others that this AIV put nothing into tops; false if that is done, or not true.
  __aicore__ inline bool TellNone() {
    if (told_ || wanted_) return false;
    Tell(false);
    return true;
  }
  __aicore__ inline void Tell(bool any) {
    const Floats used = buffers_.Result<float>(slot_);
    const int64_t core = AscendC::GetBlockIdx() / kVectorCores, sub = AscendC::GetSubBlockIdx();
    told_ = true;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot_);
    AscendC::Duplicate(used, any ? 1.0f : 0.0f, kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot_);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot_);
    AscendC::DataCopy(exchange_.used[core * exchange_.core_floats + sub * kBlockFloats], used, kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot_);
  }

  // Products in float, all columns added to the first 64.
  __aicore__ inline void Multiply(const Lot& lot) {
    const int32_t elements = lot.rows * p_.d2;
    const Floats wide = buffers_.Array();
    AscendC::Cast(wide, buffers_.Loaded<T>(lot.slot), AscendC::RoundMode::CAST_NONE, 2 * elements);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(wide, wide, wide[elements], elements);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = params.src0RepStride = params.src1RepStride = p_.d2 / kBlockFloats;
    for (int32_t c = kLanes; c < p_.d2; c += kLanes) {
      const uint64_t lanes = Min(p_.d2 - c, kLanes);
      AscendC::Add(wide, wide, wide[c], lanes, lot.rows, params);
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  const AttentionParams& p_;
  SideBuffers& buffers_;
  int32_t rows_;  // of a step
  StatisticsGrad<T> statistics_;
  TopSearch<T, Rule> search_;
  Segment segment_{};
  GradExchange<T> exchange_;
  int64_t first_ = 0, row_ = 0, end_ = 0;
  int32_t slot_ = 0, weighed_ = 0;
  Lot loaded_{}, dotted_{};
  bool wanted_ = false, told_ = true;
  AscendC::GlobalTensor<T> grad_, out_;
};

}  // namespace ms_nsa
