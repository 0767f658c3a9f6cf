// SPDX-License-Identifier: Apache-2.0
// What the gradients of softmax_max and softmax_sum put on scores. That of the sum reaches each by its
// exponential, as delta does, and the largest one besides; there both cancel in every function of max +
// log(sum), and in zeros, which MindSpore hands over for a statistic without gradient. Only what rounding
// does not explain is worth a search (top_search.h). For a row it leaves kTopFloats: as float what is added
// to the row's largest score, as int32 kWanted where that score's key is to be found, else 0.
#pragma once

#include "grad_exchange.h"
#include "side_buffers.h"

namespace ms_nsa {

constexpr int32_t kWanted = -1;

// Works on the slots of SideBuffers, which its caller guards.
template <class T>
class StatisticsGrad {
 public:
  static constexpr int32_t kRows = kLanes;  // at most, in one go

  // Has kInBytes of a slot and kOutBytes of a result from these offsets on.
  __aicore__ inline StatisticsGrad(const AttentionParams& params, const GradAddresses& gm,
                                   SideBuffers& buffers, int32_t in_at, int32_t out_at)
      : p_(params), buffers_(buffers), in_at_(in_at), out_at_(out_at) {
    max_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max_grad));
    sum_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum_grad));
    sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
  }

  __aicore__ inline void Load(int32_t slot, int64_t row, int32_t rows) {
    const int64_t at = row * kBlockFloats;
    const int32_t floats = rows * kBlockFloats;
    if (p_.has_max_grad) AscendC::DataCopy(Lanes(slot, kMaxGrad), max_grad_[at], floats);
    if (p_.has_sum_grad) AscendC::DataCopy(Lanes(slot, kSumGrad), sum_grad_[at], floats);
    if (p_.has_sum_grad) AscendC::DataCopy(Lanes(slot, kSum), sum_[at], floats);
  }

  // What the rows' scores get. Whole vectors are compared, and an absent gradient is zeros.
  __aicore__ inline void Weigh(int32_t slot, int32_t rows) {
    constexpr float kRounding = 0x1p-18f;
    const Floats of_all = Vector(slot, kSumGrad), top = Vector(slot, kTop), noise = Vector(slot, kNoise);
    AscendC::Duplicate(Vector(slot, 0), 0.0f, kVectors * kLanes + kTopsFloats);
    AscendC::PipeBarrier<PIPE_V>();
    if (p_.has_max_grad) {
      FoldLanes(Vector(slot, kMaxGrad), Lanes(slot, kMaxGrad), rows);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Abs(Lanes(slot, kMaxGrad), Lanes(slot, kMaxGrad), rows * kBlockFloats);
      AscendC::PipeBarrier<PIPE_V>();
      FoldLanes(noise, Lanes(slot, kMaxGrad), rows);
    }
    if (p_.has_sum_grad) {
      FoldLanes(of_all, Lanes(slot, kSumGrad), rows);
      FoldLanes<true>(Vector(slot, kSum), Lanes(slot, kSum), rows);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(of_all, of_all, Vector(slot, kSum), kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Sub(top, Vector(slot, kMaxGrad), of_all, kRows);
    AscendC::Muls(noise, noise, kRounding, kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Abs(Vector(slot, kSize), top, kRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Compare(Bits(slot), Vector(slot, kSize), noise, AscendC::CMPMODE::LE, kLanes);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvents + slot);
  }

  // Takes what every score gets off the deltas of some rows, `row` and following.
  __aicore__ inline void Take(const Floats& deltas, int32_t slot, int32_t row, int32_t rows) {
    AscendC::Sub(deltas, deltas, Vector(slot, kSumGrad)[row], rows);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Some time after Weigh: the scalar unit waits for it. True if a largest score gets more.
  __aicore__ inline bool Store(const GradExchange<T>& exchange, int32_t slot, int64_t row, int32_t rows) {
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvents + slot);
    const uint64_t equal = Bits(slot).template ReinterpretCast<uint64_t>().GetValue(0);
    const uint64_t wanted = ~equal & (~uint64_t{0} >> (64 - rows));
    for (int32_t i = 0; i < rows && wanted != 0; ++i) {
      if ((wanted >> i & 1) != 0) Want(slot, i);
    }
    AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(kEvents + slot);
    AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(kEvents + slot);
    const uint32_t bytes = rows * kTopFloats * 4;
    AscendC::DataCopyPad(exchange.tops[row * kTopFloats], Tops(slot), {1, bytes, 0, 0, 0});
    return wanted != 0;
  }

 private:
  static constexpr int32_t kMaxGrad = 0, kSumGrad = 1, kSum = 2, kTop = 3, kSize = 4, kNoise = 5;
  static constexpr int32_t kVectors = 6, kLanesOfRows = kRows * kBlockFloats;
  static constexpr int32_t kTopsFloats = kRows * kTopFloats, kTopsAt = kVectors * kLanes * 4;
  static constexpr int32_t kBitsAt = kTopsAt + kTopsFloats * 4;
  static constexpr int32_t kEvents = SideBuffers::kEvents;

 public:
  static constexpr int32_t kInBytes = 3 * kLanesOfRows * 4, kOutBytes = kBitsAt + 32;

 private:
  __aicore__ inline Floats Lanes(int32_t slot, int32_t which) {
    return buffers_.Loaded<float>(slot, in_at_ + which * kLanesOfRows * 4);
  }
  __aicore__ inline Floats Vector(int32_t slot, int32_t which) {
    return buffers_.Result<float>(slot, out_at_ + which * kLanes * 4);
  }
  __aicore__ inline Floats Tops(int32_t slot) { return buffers_.Result<float>(slot, out_at_ + kTopsAt); }
  __aicore__ inline AscendC::LocalTensor<uint8_t> Bits(int32_t slot) {
    return buffers_.Result<uint8_t>(slot, out_at_ + kBitsAt);
  }

  // sums[r] = the sum, or the maximum, of a row's eight lanes.
  template <bool is_max = false>
  __aicore__ inline void FoldLanes(const Floats& sums, const Floats& lanes, int32_t rows) {
    const int32_t whole = rows / kBlockFloats, first = whole * kBlockFloats;
    if (whole > 0) FoldLanes<is_max>(sums, lanes, whole, kLanes);
    if (rows > first)
      FoldLanes<is_max>(sums[first], lanes[first * kBlockFloats], 1, (rows - first) * kBlockFloats);
  }
  template <bool is_max>
  __aicore__ inline void FoldLanes(const Floats& sums, const Floats& lanes, int32_t repeats, int32_t used) {
    if constexpr (is_max) AscendC::BlockReduceMax(sums, lanes, repeats, used, 1, 1, kBlockFloats);
    if constexpr (!is_max) AscendC::BlockReduceSum(sums, lanes, repeats, used, 1, 1, kBlockFloats);
  }

  __aicore__ inline void Want(int32_t slot, int32_t row) {
    Tops(slot).SetValue(row * kTopFloats, Vector(slot, kTop).GetValue(row));
    Tops(slot).template ReinterpretCast<int32_t>().SetValue(row * kTopFloats + 1, kWanted);
  }

  const AttentionParams& p_;
  SideBuffers& buffers_;
  int32_t in_at_, out_at_;
  AscendC::GlobalTensor<float> max_grad_, sum_grad_, sum_;
};

}  // namespace ms_nsa
