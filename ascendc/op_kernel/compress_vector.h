// SPDX-License-Identifier: Apache-2.0
// An AIV's windows: slices stream through UB, one copy ahead, each added to the windows that share it; a
// window leaves when its last slice is in.
#pragma once

#include "slice_stream.h"
#include "window_sum.h"
#include "window_walk.h"

namespace ms_nsa {

// Rows gives Load(slice, to), the copies from GM of a slice's rows.
template <class T, class Rows>
class CompressVector {
 public:
  __aicore__ inline CompressVector(const CompressParams& params, const Rows& rows, AscendC::TPipe& pipe)
      : p_(params),
        rows_(rows),
        row_(params.part_heads * params.head_dim),
        sum_(params, ub_, kWeightsInAt, kSumAt) {
    ub_.Init(pipe, kInBytes, kOutBytes);
  }

  __aicore__ inline void Init(GM_ADDR weight, GM_ADDR output) {
    sum_.Init(weight);
    output_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(output));
  }

  template <class Walk>
  __aicore__ inline void Run(Walk& walk) {
    StreamSlices<WindowSlice>(walk, *this);
  }

  // Rows [first, end) of output, all heads.
  __aicore__ inline void Clear(int64_t first, int64_t end) {
    const int64_t row = int64_t{p_.kv_heads} * p_.head_dim;
    ClearElements(output_, first * row, end * row, sum_.Slice());
  }

  __aicore__ inline void Load(const WindowSlice& slice, int32_t slot) {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    rows_.Load(slice, Raw(slot));
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot);
  }

  __aicore__ inline void Take(const WindowSlice& slice, int32_t slot) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot);
    if (slice.part != part_) sum_.Open(slice.part);
    part_ = slice.part;
    sum_.Widen(Raw(slot));
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    const int64_t last = SlicesOfWindow(p_) - 1, stride = SlicesOfStride(p_);
    const int64_t first = Max<int64_t>(CeilDiv(slice.number - last, stride), 0);
    for (int64_t window = first; window < slice.windows && window * stride <= slice.number; ++window) {
      const int32_t position = slice.number - window * stride;
      sum_.Add(window, position);
      if (position == last) Store(slice, window);
    }
  }

 private:
  static constexpr int32_t kWeightsInAt = kSlots * kSliceElements * 2;
  static constexpr int32_t kInBytes = kWeightsInAt + WindowSum<T>::kInBytes;
  static constexpr int32_t kSumAt = kSlots * kPartElements * 2;
  static constexpr int32_t kOutBytes = kSumAt + WindowSum<T>::kBytes;
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");

  __aicore__ inline AscendC::LocalTensor<T> Raw(int32_t slot) {
    return ub_.In<T>(slot * kSliceElements * 2, kSliceElements);
  }
  __aicore__ inline AscendC::LocalTensor<T> Out(int32_t slot) {
    return ub_.Out<T>(slot * kPartElements * 2, kPartElements);
  }

  __aicore__ inline void Store(const WindowSlice& slice, int64_t window) {
    const int32_t slot = stored_++ % kSlots, done = HeadsDone(p_, slice.part);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    sum_.Finish(window, Out(slot));
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot);
    const int64_t head = (slice.window + window) * p_.kv_heads + FirstHead(p_, slice.part) + done;
    AscendC::DataCopy(output_[head * p_.head_dim], Out(slot)[done * p_.head_dim], row_ - done * p_.head_dim);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }

  const CompressParams& p_;
  const Rows& rows_;
  int32_t row_, part_ = -1;
  int64_t stored_ = 0;
  UnifiedBuffer ub_;
  WindowSum<T> sum_;
  AscendC::GlobalTensor<T> output_;
};

}  // namespace ms_nsa
