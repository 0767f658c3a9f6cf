// SPDX-License-Identifier: Apache-2.0
// Core registers and system queries.
#include "machine.h"

namespace twin {

VectorMask& MaskState() {
  return Current().mask;
}

void SetCounterMode(bool on, Site site) {
  Core& core = Current();
  core.mask.counter = on;
  core.mask_site = site;
  Instr(on ? "SetMaskCount" : "SetMaskNorm", Pipe::kS, site).Issue({Path::kScalar});
}

void SetMask(uint64_t low, uint64_t high, const char* api, Site site) {
  Core& core = Current();
  core.mask.low = low;
  core.mask.high = high;
  Instr(api, Pipe::kS, site).Issue({Path::kScalar});
}

uint64_t (&CompareMask())[2] {
  return Current().compare_mask;
}

void SetAtomic(int type, Site site) {
  Core& core = Current();
  constexpr int kUnknownType = 7;  // AtomicType::kUnknown
  if (type == kUnknownType) {
    core.Fail(Rule::kAtomic, "SetAtomicAdd", Pipe::kS, site,
              "SetAtomicAdd: takes float, half, bfloat16_t, int8_t, int16_t and int32_t only");
    return;
  }
  core.atomic = type;
  core.atomic_site = site;
}

int AtomicState() {
  return Current().atomic;
}

uint64_t UbUsed() {
  return Current().next_addr[static_cast<int>(Mem::kUb)];
}

uint64_t UbCapacity() {
  return Current().Capacity(Mem::kUb);
}

uint64_t SelectReserveBegin() {
  return kSelectReserveBegin;
}

int64_t BlockIndex() {
  const Core& core = Current();
  if (core.cube) return core.block;
  return int64_t{core.block} * core.machine.AivPerBlock() + core.sub;
}

int64_t BlockCount() {
  return Current().machine.options().block_dim;
}
int64_t SubBlockIndex() {
  return Current().sub;
}

int64_t TaskRatio() {
  const Core& core = Current();
  return core.cube || core.machine.AivPerBlock() == 0 ? 1 : core.machine.AivPerBlock();
}

uint64_t ReservedWorkspace() {
  return Current().machine.options().reserved_workspace;
}
uint64_t TilingKey() {
  return Current().machine.options().tiling_key;
}

void DeclareTaskType(int type, Site site) {
  Core& core = Current();
  const int launched = static_cast<int>(core.machine.options().task_type);
  if (type == launched) return;
  core.Fail(Rule::kTaskType, "KERNEL_TASK_TYPE", Pipe::kS, site,
            "KERNEL_TASK_TYPE: the kernel declares type " + std::to_string(type) + " but is launched as " +
                std::to_string(launched));
}

const void* TilingBytes(const void* tiling, uint64_t bytes, Site site) {
  Core& core = Current();
  GmAllocation* gm = core.machine.gm().Find(static_cast<const uint8_t*>(tiling));
  if (!gm || gm->bytes() < bytes) {
    core.Fail(Rule::kBounds, "GET_TILING_DATA", Pipe::kS, site,
              "GET_TILING_DATA: the kernel reads " + std::to_string(bytes) +
                  " bytes of tiling, the launch gave " + std::to_string(gm ? gm->bytes() : 0));
    throw Abort{};
  }
  return tiling;
}

int64_t CycleCount() {
  return static_cast<int64_t>(Current().instructions);
}

}  // namespace twin
