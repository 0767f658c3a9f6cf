// SPDX-License-Identifier: Apache-2.0
// The part of UB in which the AIVs of the gradient do what lies between their tiles, in turn: the sums of
// parts, and deltas. It has two slots for what is loaded and two for results, each with its flags, and room
// for one array in between.
#pragma once

#include "row_vector.h"
#include "unified_buffer.h"

namespace ms_nsa {

class SideBuffers {
 public:
  static constexpr int32_t kFloats = 4096;  // of a slot and of the array; half as many of a result
  static constexpr int32_t kInBytes = kSlots * kFloats * 4, kOutBytes = kSlots * kFloats * 2 + kFloats * 4;

  // Has the first kInBytes and kOutBytes of UB's halves.
  __aicore__ inline explicit SideBuffers(UnifiedBuffer& ub) : ub_(ub) {}

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

  template <class E>
  __aicore__ inline AscendC::LocalTensor<E> Loaded(int32_t slot, int32_t byte = 0) {
    return ub_.In<E>(slot * kFloats * 4 + byte, (kFloats * 4 - byte) / sizeof(E));
  }
  template <class E>
  __aicore__ inline AscendC::LocalTensor<E> Result(int32_t slot, int32_t byte = 0) {
    return ub_.Out<E>(slot * kFloats * 2 + byte, (kFloats * 2 - byte) / sizeof(E));
  }
  __aicore__ inline Floats Array() { return ub_.Out<float>(kSlots * kFloats * 2, kFloats); }

  // Events of each pair of pipes, the first of two; the tiles have 0 and 1.
  static constexpr int32_t kEvents = 2;

 private:
  UnifiedBuffer& ub_;
};

}  // namespace ms_nsa
