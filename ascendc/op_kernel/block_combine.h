// Brings the blocks of each token together: attention_out and the statistics from the sums, maxima and sums
// of exponentials that its entries left in GM. Statistics stay eight lanes a row, the form that scales rows.
#pragma once

#include "block_exchange.h"
#include "gm_source.h"
#include "online_softmax.h"

namespace ms_nsa {

template <class T>
class BlockCombine {
 public:
  using Buffer = AscendC::TBuf<AscendC::TPosition::VECCALC>;

  __aicore__ inline BlockCombine(const AttentionParams& params, const AttentionAddresses& gm,
                                 const PackedSource& source, BlockExchange<T>& exchange, Buffer& ub)
      : p_(params),
        source_(source),
        exchange_(exchange),
        ub_(ub),
        lanes_(params.group * kBlockFloats),
        capacity_(Min(kSums / (params.group * params.d2), kMaxRows / params.group)) {
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
    out_max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    out_sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  __aicore__ inline void Run(const Segment& segment) {
    const int64_t items = segment.tokens * p_.kv_heads, cores = AscendC::GetBlockNum() * kVectorCores;
    const int64_t end = Quota(items, AscendC::GetBlockIdx() + 1, cores);
    Group group{}, previous{};
    Open();
    group.item = Quota(items, AscendC::GetBlockIdx(), cores);
    bool pending = false;
    while (group.item < end) {
      Load(segment, group);
      if (pending) Merge(segment, previous);
      previous = group;
      pending = true;
      Advance(group);
    }
    if (pending) Merge(segment, previous);
    Close();
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  static constexpr int32_t kSums = 40 * 1024 / 4;  // floats of a group of entries
  static constexpr int32_t kMaxRows = 192;         // rows of a group
  static constexpr int32_t kOutFloats = kMaxGroup * kMaxWidth, kOutLanes = kMaxGroup * kBlockFloats;
  static_assert(kOutFloats <= kSums, "a group holds an entry");

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

  static constexpr int32_t kStats = kMaxRows * kBlockFloats;
  static constexpr int32_t kMaxAt = kSlots * kSums * 4, kSumAt = kMaxAt + kSlots * kStats * 4;
  static constexpr int32_t kFoldAt = kSumAt + kSlots * kStats * 4;
  static constexpr int32_t kTotalAt = kFoldAt + kStats * 4;
  static constexpr int32_t kResultAt = kTotalAt + kOutFloats * 4;
  static constexpr int32_t kRunAt = kResultAt + kSlots * kOutFloats * 2;
  static constexpr int32_t kDecayAt = kRunAt + 2 * kSlots * kOutLanes * 4;
  static constexpr int32_t kBytes = kDecayAt + kOutLanes * 4;
  static_assert(kBytes <= 184 * 1024, "UB");

  __aicore__ inline Floats At(int32_t bytes, int32_t floats) {
    return ub_.template GetWithOffset<float>(floats, bytes);
  }
  __aicore__ inline Floats Sums(int32_t slot) { return At(slot * kSums * 4, kSums); }
  __aicore__ inline Floats Maxima(int32_t slot) { return At(kMaxAt + slot * kStats * 4, kStats); }
  __aicore__ inline Floats Exponentials(int32_t slot) { return At(kSumAt + slot * kStats * 4, kStats); }
  __aicore__ inline Floats Fold() { return At(kFoldAt, kStats); }
  __aicore__ inline Floats Total() { return At(kTotalAt, kOutFloats); }
  __aicore__ inline AscendC::LocalTensor<T> Result(int32_t slot) {
    return ub_.template GetWithOffset<T>(kOutFloats, kResultAt + slot * kOutFloats * 2);
  }
  __aicore__ inline RowStats Running(int32_t slot) {
    const int32_t at = kRunAt + 2 * slot * kOutLanes * 4;
    return {At(at, kOutLanes), At(at + kOutLanes * 4, kOutLanes)};
  }
  __aicore__ inline Floats Decay() { return At(kDecayAt, kOutLanes); }

  __aicore__ inline void Open() {
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

  __aicore__ inline void Advance(Group& group) {
    ++group.ordinal;
    if (!group.last) return;
    ++group.item;
    ++group.item_ordinal;
    group.slot = 0;
  }

  // The same rule by which the tiles left an entry out.
  __aicore__ inline bool HasEntry(int64_t row, int32_t head, int32_t slot, int64_t visible) const {
    const int64_t block = source_.Index(row, head, slot);
    return block >= 0 && block * p_.select_block_size < visible;
  }

  __aicore__ inline void Load(const Segment& segment, Group& group) {
    const int64_t token = group.item / p_.kv_heads, visible = segment.Visible(p_.sparse_mode, token);
    const int32_t head = group.item % p_.kv_heads, buffer = group.ordinal % kSlots;
    group.first = group.slot == 0;
    group.entries = 0;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(buffer);
    for (; group.slot < p_.select_block_count; ++group.slot) {
      if (!HasEntry(segment.row + token, head, group.slot, visible)) continue;
      if (group.entries == capacity_) break;
      LoadEntry(buffer, group.entries++, EntryOf(p_, token, head, group.slot));
    }
    group.last = group.slot >= p_.select_block_count;
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(buffer);
  }

  __aicore__ inline void LoadEntry(int32_t buffer, int32_t number, int64_t entry) {
    const int32_t floats = p_.group * p_.d2;
    AscendC::DataCopy(Sums(buffer)[number * floats], exchange_.sums[entry * floats], floats);
    AscendC::DataCopy(Maxima(buffer)[number * lanes_], exchange_.stats[entry * 2 * lanes_], lanes_);
    AscendC::DataCopy(Exponentials(buffer)[number * lanes_], exchange_.stats[(entry * 2 + 1) * lanes_],
                      lanes_);
  }

  __aicore__ inline void Merge(const Segment& segment, const Group& group) {
    const int32_t buffer = group.ordinal % kSlots, slot = group.item_ordinal % kSlots;
    const RowStats running = Running(slot);
    if (group.first) AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    if (group.first) Reset(running);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(buffer);
    if (group.entries > 0) MergeEntries(buffer, group.entries, running, group.first);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(buffer);
    if (group.last) Store(segment, group.item, slot, running);
  }

  __aicore__ inline void Reset(const RowStats& running) {
    AscendC::Duplicate(running.max, kLowest, lanes_);
    AscendC::Duplicate(running.sum, 0.0f, lanes_);
    AscendC::Duplicate(Total(), 0.0f, p_.group * p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Folds `entries` vectors of `floats` onto the first.
  template <bool is_max>
  __aicore__ inline void FoldEntries(const Floats& vectors, int32_t entries, int32_t floats) {
    while (entries > 1) {
      const int32_t half = (entries + 1) / 2;
      const Floats upper = vectors[half * floats];
      if (is_max) AscendC::Max(vectors, vectors, upper, (entries - half) * floats);
      if (!is_max) AscendC::Add(vectors, vectors, upper, (entries - half) * floats);
      AscendC::PipeBarrier<PIPE_V>();
      entries = half;
    }
  }

  __aicore__ inline void MergeEntries(int32_t buffer, int32_t entries, const RowStats& running, bool first) {
    const Floats weights = Maxima(buffer), exponentials = Exponentials(buffer), sums = Sums(buffer);
    const int32_t floats = p_.group * p_.d2, all_lanes = entries * lanes_;
    AscendC::Adds(Fold(), weights, 0.0f, all_lanes);
    AscendC::PipeBarrier<PIPE_V>();
    FoldEntries<true>(Fold(), entries, lanes_);
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
    FoldEntries<false>(exponentials, entries, lanes_);
    FoldEntries<false>(sums, entries, floats);
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

  __aicore__ inline void Store(const Segment& segment, int64_t item, int32_t slot, const RowStats& running) {
    const int32_t floats = p_.group * p_.d2;
    AscendC::Maxs(Decay(), running.sum, kLeastSum, lanes_);
    FinishMax(running, Fold(), lanes_);
    ApplyRows<RowOp::kDiv>(Total(), Decay(), p_.group, p_.d2, p_.d2);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Result(slot), Total(), AscendC::RoundMode::CAST_RINT, floats);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot);
    const int64_t place = segment.row * p_.kv_heads + item;
    AscendC::DataCopy(out_[place * floats], Result(slot), floats);
    AscendC::DataCopy(out_max_[place * lanes_], running.max, lanes_);
    AscendC::DataCopy(out_sum_[place * lanes_], running.sum, lanes_);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }

  const AttentionParams& p_;
  const PackedSource& source_;
  BlockExchange<T>& exchange_;
  Buffer& ub_;
  int32_t lanes_, capacity_;  // floats of an entry's statistic, entries of a group
  AscendC::GlobalTensor<T> out_;
  AscendC::GlobalTensor<float> out_max_, out_sum_;
};

}  // namespace ms_nsa
