// SPDX-License-Identifier: Apache-2.0
// Brings the blocks of each token together: attention_out and the statistics from the sums, maxima and sums
// of exponentials that its entries left in GM. Statistics stay eight lanes a row, the form that scales rows.
#pragma once

#include "block_weights.h"
#include "gm_source.h"

namespace ms_nsa {

template <class T>
class BlockCombine {
 public:
  __aicore__ inline BlockCombine(const AttentionParams& params, const AttentionAddresses& gm,
                                 const PackedSource& source, UnifiedBuffer& ub)
      : p_(params),
        source_(source),
        ub_(ub),
        lanes_(params.group * kBlockFloats),
        capacity_(Min(kSums / (params.group * params.d2), kMaxRows / params.group)) {
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
    out_max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    out_sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  // To be followed by any number of Step() and by Finish(); both arguments must live that long.
  __aicore__ inline void Start(const Segment& segment, const BlockExchange<T>& exchange) {
    segment_ = &segment;
    exchange_ = &exchange;
    const int64_t items = segment.tokens * p_.kv_heads, cores = AscendC::GetBlockNum() * kVectorCores;
    group_ = {};
    group_.item = Quota(items, AscendC::GetBlockIdx(), cores);
    end_ = Quota(items, AscendC::GetBlockIdx() + 1, cores);
  }

  // About how many steps there are.
  __aicore__ inline int64_t Steps() const {
    return (end_ - group_.item) * CeilDiv(p_.select_block_count, capacity_);
  }

  // Loads a group of entries and merges the one loaded before; false when there was nothing left to do.
  __aicore__ inline bool Step() {
    const bool more = group_.item < end_;
    if (more) Load();
    if (pending_) Merge(merging_);
    const bool busy = more || pending_;
    pending_ = more;
    merging_ = group_;
    if (more) Advance();
    return busy;
  }

  __aicore__ inline void Finish() {
    while (Step()) {
    }
  }

  __aicore__ inline void Open() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvents + slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot);
    }
  }
  __aicore__ inline void Close() {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvents + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot);
    }
  }

  static constexpr int32_t kSums = kMaxEntryFloats;  // floats of a group of entries
  static constexpr int32_t kMaxRows = 96;            // rows of a group

 private:
  // Entries of one token and kv head that are merged in one go.
  struct Group {
    int64_t item;          // token * kv_heads + head
    int64_t ordinal;       // of the buffers
    int64_t item_ordinal;  // of the results
    int32_t slot;          // scanning goes on here
    int32_t entries;
    bool first, last;  // of the item
  };

  // UB behind that of the weights, with which this takes turns. Fold, total and decay stay in UB.
  static constexpr int32_t kOutLanes = kMaxGroup * kBlockFloats;
  static constexpr int32_t kStats = kMaxRows * kBlockFloats;
  static constexpr int32_t kSumsAt = BlockWeights<T>::kInBytes;
  static constexpr int32_t kMaxAt = kSumsAt + kSlots * kSums * 4, kSumAt = kMaxAt + kSlots * kStats * 4;
  static constexpr int32_t kFoldAt = kSumAt + kSlots * kStats * 4;
  static constexpr int32_t kTotalAt = kFoldAt + kStats * 4;
  static constexpr int32_t kDecayAt = kTotalAt + kMaxEntryFloats * 4;
  static constexpr int32_t kResultAt = BlockWeights<T>::kOutBytes;
  static constexpr int32_t kRunAt = kResultAt + kSlots * kMaxEntryFloats * 2;

 public:
  static constexpr int32_t kInBytes = kDecayAt + kOutLanes * 4;
  static constexpr int32_t kOutBytes = kRunAt + 2 * kSlots * kOutLanes * 4;

 private:
  static_assert(kMaxRows >= kMaxGroup, "a group holds an entry");
  static_assert(kStats >= 2 * kOutLanes, "two vectors of statistics");

  static constexpr int32_t kEvents = 2;  // of each pair of pipes, the first of two; the weights have 0 and 1

  __aicore__ inline Floats In(int32_t at, int32_t floats) { return ub_.In<float>(at, floats); }
  __aicore__ inline Floats Sums(int32_t slot) { return In(kSumsAt + slot * kSums * 4, kSums); }
  __aicore__ inline Floats Maxima(int32_t slot) { return In(kMaxAt + slot * kStats * 4, kStats); }
  __aicore__ inline Floats Exponentials(int32_t slot) { return In(kSumAt + slot * kStats * 4, kStats); }
  __aicore__ inline Floats Fold() { return In(kFoldAt, kStats); }
  __aicore__ inline Floats Total() { return In(kTotalAt, kMaxEntryFloats); }
  __aicore__ inline Floats Decay() { return In(kDecayAt, kOutLanes); }
  __aicore__ inline AscendC::LocalTensor<T> Result(int32_t slot) {
    return ub_.Out<T>(kResultAt + slot * kMaxEntryFloats * 2, kMaxEntryFloats);
  }
  __aicore__ inline RowStats Running(int32_t slot) {
    const int32_t at = kRunAt + 2 * slot * kOutLanes * 4;
    return {ub_.Out<float>(at, kOutLanes), ub_.Out<float>(at + kOutLanes * 4, kOutLanes)};
  }

  __aicore__ inline void Advance() {
    ++group_.ordinal;
    if (!group_.last) return;
    ++group_.item;
    ++group_.item_ordinal;
    group_.slot = 0;
  }

  // The same rule by which the tiles left an entry out.
  __aicore__ inline bool HasEntry(int64_t row, int32_t head, int32_t slot, int64_t visible) const {
    const int64_t block = source_.Index(row, head, slot);
    return block >= 0 && block * p_.select_block_size < visible;
  }

  __aicore__ inline void Load() {
    Group& group = group_;
    const int64_t token = group.item / p_.kv_heads, visible = segment_->Visible(p_, token);
    const int32_t head = group.item % p_.kv_heads, buffer = group.ordinal % kSlots;
    group.first = group.slot == 0;
    group.entries = 0;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvents + buffer);
    int32_t run = 0;  // entries of slots side by side lie side by side
    for (; group.slot < p_.select_block_count; ++group.slot) {
      const bool has = HasEntry(segment_->row + token, head, group.slot, visible);
      if (has && group.entries + run == capacity_) break;
      if (has) {
        ++run;
      } else {
        LoadEntries(buffer, EntryOf(p_, token, head, group.slot), run);
      }
    }
    LoadEntries(buffer, EntryOf(p_, token, head, group.slot), run);
    group.last = group.slot >= p_.select_block_count;
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvents + buffer);
  }

  // Appends the `run` entries before entry `end` to the group.
  __aicore__ inline void LoadEntries(int32_t buffer, int64_t end, int32_t& run) {
    if (run == 0) return;
    const int32_t floats = p_.group * p_.d2, number = group_.entries;
    const int64_t entry = end - run;
    const uint16_t blocks = p_.group;
    const AscendC::DataCopyParams every_second{static_cast<uint16_t>(run), blocks, blocks, 0};
    AscendC::DataCopy(Sums(buffer)[number * floats], exchange_->sums[entry * floats], run * floats);
    AscendC::DataCopy(Maxima(buffer)[number * lanes_], exchange_->stats[entry * 2 * lanes_], every_second);
    AscendC::DataCopy(Exponentials(buffer)[number * lanes_], exchange_->stats[(entry * 2 + 1) * lanes_],
                      every_second);
    group_.entries += run;
    run = 0;
  }

  __aicore__ inline void Merge(const Group& group) {
    const int32_t buffer = group.ordinal % kSlots, slot = group.item_ordinal % kSlots;
    const RowStats running = Running(slot);
    if (group.first) AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot);
    if (group.first) Reset(running);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvents + buffer);
    if (group.entries > 0) MergeEntries(buffer, group.entries, running, group.first);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvents + buffer);
    if (group.last) Store(group.item, slot, running);
  }

  __aicore__ inline void Reset(const RowStats& running) {
    AscendC::Duplicate(running.max, kLowest, lanes_);
    AscendC::Duplicate(running.sum, 0.0f, lanes_);
    AscendC::Duplicate(Total(), 0.0f, p_.group * p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void MergeEntries(int32_t buffer, int32_t entries, const RowStats& running, bool first) {
    const Floats weights = Maxima(buffer), exponentials = Exponentials(buffer), sums = Sums(buffer);
    const int32_t floats = p_.group * p_.d2, all_lanes = entries * lanes_;
    AscendC::Adds(Fold(), weights, 0.0f, all_lanes);
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<true>(Fold(), entries, lanes_);
    RaiseMax(running.max, Fold(), Decay(), lanes_);
    SubtractMax(weights, running.max, entries);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(weights, weights, all_lanes);
    AscendC::Mul(running.sum, running.sum, Decay(), lanes_);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(exponentials, exponentials, weights, all_lanes);
    ApplyRows<RowOp::kMul>(sums, weights, entries * p_.group, p_.d2, p_.d2);
    if (!first) ApplyRows<RowOp::kMul>(Total(), Decay(), p_.group, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<false>(exponentials, entries, lanes_);
    FoldVectors<false>(sums, entries, floats);
    AscendC::Add(running.sum, running.sum, exponentials, lanes_);
    AscendC::Add(Total(), Total(), sums, floats);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // maxima[entry, row] -= max[row], eight rows an instruction: a repeat is an entry.
  __aicore__ inline void SubtractMax(const Floats& maxima, const Floats& max, int32_t entries) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = params.src0RepStride = p_.group;
    params.src1RepStride = 0;
    for (int32_t at = 0; at < lanes_; at += kLanes) {
      const uint64_t width = Min(lanes_ - at, kLanes);
      AscendC::Sub(maxima[at], maxima[at], max[at], width, entries, params);
    }
  }

  __aicore__ inline void Store(int64_t item, int32_t slot, const RowStats& running) {
    const int32_t floats = p_.group * p_.d2;
    DivisorOf<T>(p_, Decay(), running.sum, lanes_);
    FinishMax(running, Fold(), Fold()[kOutLanes], lanes_);
    ApplyRows<RowOp::kDiv>(Total(), Decay(), p_.group, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Result(slot), Total(), AscendC::RoundMode::CAST_RINT, floats);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvents + slot);
    const int64_t place = segment_->row * p_.kv_heads + item;
    AscendC::DataCopy(out_[place * floats], Result(slot), floats);
    AscendC::DataCopy(out_max_[place * lanes_], running.max, lanes_);
    AscendC::DataCopy(out_sum_[place * lanes_], running.sum, lanes_);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvents + slot);
  }

  const AttentionParams& p_;
  const PackedSource& source_;
  UnifiedBuffer& ub_;
  int32_t lanes_, capacity_;  // floats of an entry's statistic, entries of a group
  const Segment* segment_ = nullptr;
  const BlockExchange<T>* exchange_ = nullptr;
  Group group_{}, merging_{};
  int64_t end_ = 0;
  bool pending_ = false;
  AscendC::GlobalTensor<T> out_;
  AscendC::GlobalTensor<float> out_max_, out_sum_;
};

}  // namespace ms_nsa
