// SPDX-License-Identifier: Apache-2.0
// Flags, barriers and cross-core synchronisation.
#pragma once

#include "twin/tensor.h"

namespace AscendC {

template <HardEvent event>
void SetFlag(int32_t eventID, TWIN_SITE) {
  twin::SetEvent(PipesOf(event).src, PipesOf(event).dst, eventID, site);
}
template <HardEvent event>
void WaitFlag(int32_t eventID, TWIN_SITE) {
  twin::WaitEvent(PipesOf(event).src, PipesOf(event).dst, eventID, site);
}
template <pipe_t pipe>
void PipeBarrier(TWIN_SITE) {
  twin::Barrier(PipeOf(pipe), site);
}

template <uint8_t modeId, pipe_t pipe>
void CrossCoreSetFlag(uint16_t flagId, TWIN_SITE) {
  twin::CrossSet(modeId, PipeOf(pipe), flagId, site);
}
// dav-2201 ignores the template arguments: the wait blocks the issue of every pipe.
template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t flagId, TWIN_SITE) {
  twin::CrossWait(flagId, site);
}

template <bool isAIVOnly = true>
void SyncAll(TWIN_SITE) {
  twin::SyncAllCores(isAIVOnly, site);
}
template <bool isAIVOnly = true>
void SyncAll(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>& ubWorkspace,
             const int32_t usedCores = 0, TWIN_SITE) {
  if (twin::kCubeHalf) return;
  twin::Instr in("SyncAll", twin::Pipe::kMte3, site);
  const uint64_t bytes = static_cast<uint64_t>(usedCores > 0 ? usedCores : twin::BlockCount()) * 32;
  in.In(ubWorkspace.ref(), "ubWorkspace", twin::MemBit(twin::Mem::kUb), 32);
  in.Touch(twin::Access::kLoad, gmWorkspace.ref(), "gmWorkspace", 0, bytes);
  in.Touch(twin::Access::kLoad, ubWorkspace.ref(), "ubWorkspace", 0, bytes);
  if (in.ok()) twin::SoftSyncAll(usedCores, gmWorkspace.ref(), site);
}

// The 32 bytes of gmWorkspace that stand for one event of one block.
template <bool isAIVOnly>
GlobalTensor<int32_t> IbSlot(const GlobalTensor<int32_t>& gmWorkspace, int32_t blockIdx, int32_t eventID) {
  const int64_t blocks = twin::BlockCount() * (isAIVOnly ? 1 : 2);
  return gmWorkspace[static_cast<uint64_t>(8 * (blocks * eventID + blockIdx))];
}
template <bool isAIVOnly>
bool CheckIb(const char* api, const GlobalTensor<int32_t>& slot, const LocalTensor<int32_t>& ubWorkspace,
             twin::Site site) {
  twin::Instr in(api, twin::Pipe::kMte3, site);
  in.In(ubWorkspace.ref(), "ubWorkspace", twin::MemBit(twin::Mem::kUb), 32);
  in.Touch(twin::Access::kLoad, slot.ref(), "gmWorkspace", 0, 32);
  in.Touch(twin::Access::kLoad, ubWorkspace.ref(), "ubWorkspace", 0, 32);
  return in.ok();
}
template <bool isAIVOnly = true>
void IBSet(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>& ubWorkspace,
           int32_t blockIdx, int32_t eventID, TWIN_SITE) {
  if (twin::kCubeHalf) return;
  const GlobalTensor<int32_t> slot = IbSlot<isAIVOnly>(gmWorkspace, blockIdx, eventID);
  if (CheckIb<isAIVOnly>("IBSet", slot, ubWorkspace, site)) twin::SoftSet(slot.ref(), site);
}
template <bool isAIVOnly = true>
void IBWait(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>& ubWorkspace,
            int32_t blockIdx, int32_t eventID, TWIN_SITE) {
  if (twin::kCubeHalf) return;
  const GlobalTensor<int32_t> slot = IbSlot<isAIVOnly>(gmWorkspace, blockIdx, eventID);
  if (CheckIb<isAIVOnly>("IBWait", slot, ubWorkspace, site)) twin::SoftWait(slot.ref(), site);
}

template <pipe_t src, pipe_t dst>
class TQueSync {
 public:
  void SetFlag(TEventID id, TWIN_SITE) { twin::SetEvent(PipeOf(src), PipeOf(dst), id, site); }
  void WaitFlag(TEventID id, TWIN_SITE) { twin::WaitEvent(PipeOf(src), PipeOf(dst), id, site); }
};

}  // namespace AscendC
