// SPDX-License-Identifier: Apache-2.0
// What the AIVs of compression and of its gradient share: slices that stream through UB one copy ahead, and
// rows that no window has.
#pragma once

#include "attention_workspace.h"
#include "compress_limits.h"
#include "integers.h"

namespace ms_nsa {

// Vector gives Load(slice, slot), which copies a slice in, and Take(slice, slot), which works on it. Between
// them they wait for V_MTE2 and set MTE2_V of the slot, and the other way round; what Take stores waits for
// MTE3_V and sets it.
template <class Slice, class Walk, class Vector>
__aicore__ inline void StreamSlices(Walk& walk, Vector& vector) {
  for (int32_t slot = 0; slot < kSlots; ++slot) {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }
  Slice ring[kSlots];
  int64_t loaded = 0, done = 0;
  for (bool more = true;;) {
    while (more && loaded < done + kSlots && (more = walk.Next(ring[loaded % kSlots]))) {
      vector.Load(ring[loaded % kSlots], loaded % kSlots);
      ++loaded;
    }
    if (done == loaded) break;
    vector.Take(ring[done % kSlots], done % kSlots);
    ++done;
  }
  for (int32_t slot = 0; slot < kSlots; ++slot) {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
  }
}

// Zeros to elements [first, end) of GM, by way of kSliceElements of UB.
template <class T>
__aicore__ inline void ClearElements(const AscendC::GlobalTensor<T>& to, int64_t first, int64_t end,
                                     const AscendC::LocalTensor<float>& scratch) {
  if (first >= end) return;
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::Duplicate(scratch, 0.0f, kSliceElements);
  AscendC::PipeBarrier<PIPE_ALL>();
  const AscendC::LocalTensor<T> zeros = scratch.template ReinterpretCast<T>();
  for (int64_t at = first; at < end; at += 2 * kSliceElements)
    AscendC::DataCopy(to[at], zeros, Min<int64_t>(end - at, 2 * kSliceElements));
  AscendC::PipeBarrier<PIPE_ALL>();
}

}  // namespace ms_nsa
