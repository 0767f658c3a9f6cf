// SPDX-License-Identifier: Apache-2.0
// What the kernels with planted faults share.
#pragma once

#include "kernel_operator.h"

struct FaultTiling {
  uint32_t fault;  // 0: the correct kernel
  uint32_t unused;
};

// The flag from one pipe to another, set and waited for only if `kept`. TPipe keeps M_MTE1 0 to 2 for itself
// on a cube core.
template <AscendC::HardEvent event, int32_t id = 3>
__aicore__ inline void Edge(bool kept) {
  if (!kept) return;
  AscendC::SetFlag<event>(id);
  AscendC::WaitFlag<event>(id);
}
