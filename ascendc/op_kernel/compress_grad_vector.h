// SPDX-License-Identifier: Apache-2.0
// An AIV's slices in the gradient of compression. Rows of input come once, a slice at a time and one copy
// ahead, with the windows' gradients that they are the first to need. A row gathers its gradient from the
// windows that hold it; a piece's part of the weight's gradient grows in UB, 64 sums side by side, and is put
// down in GM.
#pragma once

#include "compress_grad_walk.h"
#include "compress_limits.h"
#include "compress_source.h"
#include "slice_stream.h"
#include "window_weights.h"

namespace ms_nsa {

template <class T>
class CompressGradVector {
 public:
  __aicore__ inline CompressGradVector(const CompressParams& params, UnifiedBuffer& ub, GM_ADDR grad,
                                       GM_ADDR input)
      : p_(params),
        ub_(ub),
        row_(params.part_heads * params.head_dim),
        grads_(params, grad),
        rows_(params, input),
        weights_(params, ub, kWeightsInAt, kWeightsAt) {}

  __aicore__ inline void Init(GM_ADDR weight, GM_ADDR input_grad, GM_ADDR workspace) {
    weights_.Init(weight);
    input_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(input_grad));
    sums_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace));
  }

  template <class Walk>
  __aicore__ inline void Run(Walk& walk) {
    StreamSlices<GradSlice>(walk, *this);
  }

  // Rows [first, end) of the input's gradient, all heads, belong to no window.
  __aicore__ inline void Clear(int64_t first, int64_t end) {
    const int64_t row = int64_t{p_.kv_heads} * p_.head_dim;
    ClearElements(input_grad_, first * row, end * row, Grown());
  }

  __aicore__ inline void Load(const GradSlice& slice, int32_t slot) {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    rows_.Load(slice, Raw(slot));
    if (slice.fresh > 0) {
      const int64_t first = slice.window + slice.live - slice.fresh;
      grads_.Load(slice.part, first, slice.fresh, RawGrads(slot));
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot);
  }

  __aicore__ inline void Take(const GradSlice& slice, int32_t slot) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot);
    if (slice.part != part_) weights_.Open(slice.part);
    part_ = slice.part;
    Widen(slice, slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    for (int32_t i = 0; i < slice.live; ++i) {
      const int32_t row = (slice.position - i * SlicesOfStride(p_)) * p_.slice_rows;
      const Floats window = Window(slice.window + i);
      if (i == 0) {
        Gather<true>(row, window);
      } else {
        Gather<false>(row, window);
      }
      if (p_.has_weight) AddSides(row, window);
      AscendC::PipeBarrier<PIPE_V>();
    }
    Store(slice);
    if (p_.has_weight && slice.closes) StoreSums(slice);
  }

 private:
  static constexpr int32_t kRawBytes = (kSliceElements + kGradLiveElements) * 2;
  static constexpr int32_t kWeightsInAt = kSlots * kRawBytes;
  static constexpr int32_t kWideAt = kSliceElements * 2, kGrownAt = kWideAt + kSliceElements * 4;
  static constexpr int32_t kWindowsAt = kGrownAt + kSliceElements * 4;
  static constexpr int32_t kSidesAt = kWindowsAt + kGradLiveElements * 4;
  static constexpr int32_t kSumsAt = kSidesAt + kGradPartWeights * kLanes * 4;
  static constexpr int32_t kWeightsAt = kSumsAt + kGradPartWeights * 4;
  using Weights = WindowWeights<T, kGradPartWeights>;

 public:
  static constexpr int32_t kInBytes = kWeightsInAt + Weights::kInBytes;
  static constexpr int32_t kOutBytes = kWeightsAt + Weights::kBytes;

 private:
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");

  // Events: of (V, MTE2) and back, slots; of (V, MTE3) and back, the slice's gradient and a piece's sums.
  static constexpr int32_t kGradEvent = 0, kSumsEvent = 1;

  __aicore__ inline AscendC::LocalTensor<T> Raw(int32_t slot) {
    return ub_.In<T>(slot * kRawBytes, kSliceElements);
  }
  __aicore__ inline AscendC::LocalTensor<T> RawGrads(int32_t slot) {
    return ub_.In<T>(slot * kRawBytes + kSliceElements * 2, kGradLiveElements);
  }
  __aicore__ inline AscendC::LocalTensor<T> Out() { return ub_.Out<T>(0, kSliceElements); }
  __aicore__ inline Floats Wide() { return ub_.Out<float>(kWideAt, kSliceElements); }
  __aicore__ inline Floats Grown() { return ub_.Out<float>(kGrownAt, kSliceElements); }
  __aicore__ inline Floats Window(int64_t window) {
    return ub_.Out<float>(kWindowsAt + window % LiveWindows(p_) * row_ * 4, row_);
  }
  // [head][row of a window][kLanes]
  __aicore__ inline Floats Sides() { return ub_.Out<float>(kSidesAt, kGradPartWeights * kLanes); }
  __aicore__ inline Floats Sums() { return ub_.Out<float>(kSumsAt, kGradPartWeights); }

  __aicore__ inline void Widen(const GradSlice& slice, int32_t slot) {
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Wide(), Raw(slot), AscendC::RoundMode::CAST_NONE, p_.slice_rows * row_);
    const int64_t first = slice.window + slice.live - slice.fresh;
    for (int32_t i = 0; i < slice.fresh; ++i)
      AscendC::Cast(Window(first + i), RawGrads(slot)[i * row_], AscendC::RoundMode::CAST_NONE, row_);
    if (slice.opens) AscendC::Duplicate(Sides(), 0.0f, kGradPartWeights * kLanes);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // The slice's gradient gets weight[row + i] * window in its row i; a repeat is some columns of a row.
  template <bool fresh>
  __aicore__ inline void Gather(int32_t row, const Floats& window) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = row_ / kBlockFloats;
    params.src0BlkStride = 0;
    params.src0RepStride = p_.part_heads;
    params.src1RepStride = 0;
    for (int32_t c = 0; c < row_; c += Columns(c)) {
      const Floats weight = weights_.Blocks(row)[c / p_.head_dim * kBlockFloats];
      const uint64_t lanes = Columns(c);
      if constexpr (fresh) {
        AscendC::Mul(Grown()[c], weight, window[c], lanes, p_.slice_rows, params);
      } else {
        AscendC::MulAddDst(Grown()[c], weight, window[c], lanes, p_.slice_rows, params);
      }
    }
  }

  // Columns of one head from column c on that an instruction takes.
  __aicore__ inline int32_t Columns(int32_t c) const { return Min(p_.head_dim - c % p_.head_dim, kLanes); }

  // The weight's gradient gets the products of the slice's rows and the window; of all heads in turn, so that
  // products for the same sums lie apart.
  __aicore__ inline void AddSides(int32_t row, const Floats& window) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = kLanes / kBlockFloats;
    params.src0RepStride = row_ / kBlockFloats;
    params.src1RepStride = 0;
    for (int32_t column = 0; column < p_.head_dim; column += kLanes) {
      if (column > 0) AscendC::PipeBarrier<PIPE_V>();
      for (int32_t head = 0; head < p_.part_heads; ++head) {
        const int32_t c = head * p_.head_dim + column;
        const Floats sides = Sides()[(head * p_.compress_block_size + row) * kLanes];
        AscendC::MulAddDst(sides, Wide()[c], window[c], static_cast<uint64_t>(Columns(c)), p_.slice_rows,
                           params);
      }
    }
  }

  __aicore__ inline void Store(const GradSlice& slice) {
    const int32_t done = HeadsDone(p_, slice.part) * p_.head_dim;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kGradEvent);
    AscendC::Cast(Out(), Grown(), AscendC::RoundMode::CAST_RINT, p_.slice_rows * row_);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kGradEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kGradEvent);
    const int64_t head = slice.row * p_.kv_heads + FirstHead(p_, slice.part);
    const int32_t gap = p_.kv_heads * p_.head_dim - (row_ - done);
    AscendC::DataCopy(input_grad_[head * p_.head_dim + done], Out()[done],
                      {static_cast<uint16_t>(p_.slice_rows), static_cast<uint16_t>((row_ - done) / kBlock),
                       static_cast<uint16_t>(done / kBlock), static_cast<uint16_t>(gap / kBlock)});
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kGradEvent);
  }

  // A piece's part of the weight's gradient: [piece][head][row of a window].
  __aicore__ inline void StoreSums(const GradSlice& slice) {
    const int32_t rows = p_.compress_block_size, done = HeadsDone(p_, slice.part) * rows;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kSumsEvent);
    AscendC::WholeReduceSum(Sums(), Sides(), kLanes, p_.part_heads * rows, 1, 1, kLanes / kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kSumsEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kSumsEvent);
    const int64_t head = slice.piece * p_.kv_heads + FirstHead(p_, slice.part);
    AscendC::DataCopy(sums_[head * rows + done], Sums()[done], p_.part_heads * rows - done);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kSumsEvent);
  }

  const CompressParams& p_;
  UnifiedBuffer& ub_;
  int32_t row_, part_ = -1;
  PackedPart<T> grads_, rows_;
  Weights weights_;
  AscendC::GlobalTensor<T> input_grad_;
  AscendC::GlobalTensor<float> sums_;
};

}  // namespace ms_nsa
