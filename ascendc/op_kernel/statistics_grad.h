// SPDX-License-Identifier: Apache-2.0
// What the gradients of softmax_max and softmax_sum put on scores. That of the sum reaches each by its
// exponential, as delta does, and the largest one besides; there both cancel in every function of max +
// log(sum), and in zeros, which MindSpore hands over for a statistic without gradient. Only what rounding
// does not explain is worth a search. Its result, for a row kTopFloats wide: as float what is added to the
// row's largest score, as int32 the number of that score's key in the sequence + 1; 0: none.
#pragma once

#include "grad_exchange.h"
#include "top_keys.h"

namespace ms_nsa {

template <class T, class Rule>
class StatisticsGrad {
 public:
  // Has kInBytes and kOutBytes of UB's halves from these offsets on, and what TopKeys takes.
  __aicore__ inline StatisticsGrad(const AttentionParams& params, const GradAddresses& gm,
                                   const typename Rule::Source& source, UnifiedBuffer& ub, int32_t in_at,
                                   int32_t out_at)
      : p_(params),
        source_(source),
        ub_(ub),
        in_at_(in_at),
        out_at_(out_at),
        keys_(params, gm, ub, out_at + kKeysAt) {
    max_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max_grad));
    sum_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum_grad));
    sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  // Of rows [row, end) of a segment, which then come kRows at a time, each lot with Weigh, Take and Store and
  // with empty pipes in between. Whole vectors take part in instructions, and an absent gradient is zeros.
  __aicore__ inline void Open(const Segment& segment, int64_t row, int64_t end) {
    segment_ = &segment;
    end_ = end;
    any_ = dirty_ = false;
    slot_ = 0;
    AscendC::Duplicate(Lanes(0, 0), 0.0f, kInBytes / 4);
    AscendC::Duplicate(Out(0, kKeysAt / 4), 0.0f, kKeysAt / 4);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    if (row < end) Load(row, slot_);
  }

  // What the rows' scores get; meanwhile the next rows' gradients are loaded. Ahead of the deltas, for which
  // V waits.
  __aicore__ inline void Weigh(int64_t row) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kNext);
    if (row + kRows < end_) Load(row + kRows, 1 - slot_);
    if (dirty_) AscendC::Duplicate(Tops(), 0.0f, kTopsFloats);
    dirty_ = false;
    Compare();
    slot_ = 1 - slot_;
  }

  // Takes what every score gets off the deltas, and finds the keys of largest scores that get more; true: for
  // that UB was used as TopKeys does.
  __aicore__ inline bool Take(const Floats& deltas, int64_t row, int32_t rows) {
    AscendC::Sub(deltas, deltas, Vector(kSumGrad), kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
    const uint32_t equal = Bits().template ReinterpretCast<uint32_t>().GetValue(0);
    const uint32_t wanted = ~equal & (~uint32_t{0} >> (32 - rows));
    if (wanted != 0) FindTops(row, rows, wanted);
    return wanted != 0;
  }

  __aicore__ inline void Store(const GradExchange<T>& exchange, int64_t row, int32_t rows) {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(kEvent);
    const uint32_t bytes = rows * kTopFloats * 4;
    AscendC::DataCopyPad(exchange.tops[row * kTopFloats], Tops(), {1, bytes, 0, 0, 0});
  }

  // Tells the others whether tops holds anything.
  __aicore__ inline void Close(const GradExchange<T>& exchange) {
    const Floats used = Vector(kMaxGrad);
    AscendC::Duplicate(used, any_ ? 1.0f : 0.0f, kBlockFloats);
    AscendC::PipeBarrier<PIPE_ALL>();
    const int64_t core = AscendC::GetBlockIdx() / kVectorCores, sub = AscendC::GetSubBlockIdx();
    AscendC::DataCopy(exchange.used[core * exchange.core_floats + sub * kBlockFloats], used, kBlockFloats);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  static constexpr int32_t kRows = kStatRows, kLanesOfRows = kRows * kBlockFloats;
  static constexpr int32_t kMaxGrad = 0, kSumGrad = 1, kSum = 2, kTop = 3, kSize = 4, kNoise = 5;
  static constexpr int32_t kVectors = 6;
  static constexpr int32_t kBitsAt = kVectors * kLanes * 4, kTopsAt = kBitsAt + 32;
  static constexpr int32_t kTopsFloats = kRows * kTopFloats, kKeysAt = kTopsAt + kTopsFloats * 4;

 public:
  static constexpr int32_t kInBytes = kSlots * 3 * kLanesOfRows * 4;
  static constexpr int32_t kOutBytes = kKeysAt + TopKeys<T>::kOutBytes;

 private:
  __aicore__ inline Floats Lanes(int32_t slot, int32_t which) {
    const int32_t before = (slot * 3 + which) * kLanesOfRows;
    return ub_.In<float>(in_at_ + before * 4, kInBytes / 4 - before);
  }
  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(out_at_ + at, floats); }
  __aicore__ inline Floats Vector(int32_t which) { return Out(which * kLanes * 4, kLanes); }
  __aicore__ inline AscendC::LocalTensor<uint8_t> Bits() { return ub_.Out<uint8_t>(out_at_ + kBitsAt, 32); }
  __aicore__ inline Floats Tops() { return Out(kTopsAt, kTopsFloats); }

  __aicore__ inline void Load(int64_t row, int32_t slot) {
    const int64_t at = (segment_->row * p_.kv_heads * p_.group + row) * kBlockFloats;
    const int32_t floats = Min<int64_t>(end_ - row, kRows) * kBlockFloats;
    if (p_.has_max_grad) AscendC::DataCopy(Lanes(slot, kMaxGrad), max_grad_[at], floats);
    if (p_.has_sum_grad) AscendC::DataCopy(Lanes(slot, kSumGrad), sum_grad_[at], floats);
    if (p_.has_sum_grad) AscendC::DataCopy(Lanes(slot, kSum), sum_[at], floats);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kNext);
  }

  __aicore__ inline void SumLanes(int32_t which, const Floats& sums) {
    constexpr int32_t kRepeats = kLanesOfRows / kLanes;
    AscendC::BlockReduceSum(sums, Lanes(slot_, which), kRepeats, kLanes, 1, 1, kBlockFloats);
  }

  // Sets the bits of the rows whose largest score gets nothing but what rounding leaves.
  __aicore__ inline void Compare() {
    constexpr float kRounding = 0x1p-18f;
    const Floats max_grad = Vector(kMaxGrad), of_all = Vector(kSumGrad), top = Vector(kTop),
                 size = Vector(kSize), noise = Vector(kNoise);
    if (p_.has_max_grad) {
      SumLanes(kMaxGrad, max_grad);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Abs(Lanes(slot_, kMaxGrad), Lanes(slot_, kMaxGrad), kLanesOfRows);
      AscendC::PipeBarrier<PIPE_V>();
      SumLanes(kMaxGrad, noise);
    }
    if (p_.has_sum_grad) {
      SumLanes(kSumGrad, of_all);  // and of eight equal lanes each its own
      AscendC::BlockReduceMax(Vector(kSum), Lanes(slot_, kSum), kLanesOfRows / kLanes, kLanes, 1, 1,
                              kBlockFloats);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(of_all, of_all, Vector(kSum), kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Sub(top, max_grad, of_all, kRows);
    AscendC::Muls(noise, noise, kRounding, kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Abs(size, top, kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Compare(Bits(), size, noise, AscendC::CMPMODE::LE, kLanes);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
  }

  // Rows of a tile are query heads in order, so that those of a token and kv head lie together.
  __aicore__ inline void FindTops(int64_t row, int32_t rows, uint32_t wanted) {
    const Segment& segment = *segment_;
    for (int32_t i = 0, count; i < rows; i += count) {
      const int64_t pair = (row + i) / p_.group, t = pair / p_.kv_heads;
      count = Min<int64_t>((pair + 1) * p_.group - (row + i), rows - i);
      if ((wanted >> i & (~uint32_t{0} >> (32 - count))) == 0) continue;
      const int32_t head = pair % p_.kv_heads;
      const int64_t first = segment.row * p_.kv_heads * p_.group + row + i;
      keys_.Find(Rule::RowsOf(p_, source_, segment, t, head), segment.kv_start, head, first, count);
      for (int32_t j = 0; j < count; ++j) {
        if ((wanted >> (i + j) & 1) != 0 && keys_[j] >= 0) Put(i + j, keys_[j]);
      }
    }
    dirty_ = true;
  }

  __aicore__ inline void Put(int32_t row, int64_t key) {
    Tops().SetValue(row * kTopFloats, Vector(kTop).GetValue(row));
    Tops().template ReinterpretCast<int32_t>().SetValue(row * kTopFloats + 1, static_cast<int32_t>(key + 1));
    any_ = true;
  }

  static constexpr int32_t kEvent = 0, kNext = 1;  // the latter of (MTE2, V)

  const AttentionParams& p_;
  const typename Rule::Source& source_;
  UnifiedBuffer& ub_;
  int32_t in_at_, out_at_;
  TopKeys<T> keys_;
  const Segment* segment_ = nullptr;
  int64_t end_ = 0;
  int32_t slot_ = 0;
  bool any_ = false, dirty_ = false;
  AscendC::GlobalTensor<float> max_grad_, sum_grad_, sum_;
};

}  // namespace ms_nsa
