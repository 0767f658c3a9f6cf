// SPDX-License-Identifier: Apache-2.0
// What the time model replays: every instruction and synchronisation of a core in program order.
#pragma once

#include <cstdint>
#include <vector>

#include "twin/abi.h"

namespace twin {

enum class Op : uint8_t { kInstr, kSetFlag, kWaitFlag, kBarrier, kCrossSet, kCrossWait, kSyncAll };

struct TraceOp {
  Op op = Op::kInstr;
  Pipe pipe = Pipe::kS;  // of the instruction, or the source pipe
  Pipe to = Pipe::kS;    // flags: the waiting pipe
  uint8_t id = 0;
  const char* api = "";
  Site site;
  Cost cost;
  uint64_t token = 0;     // cross-core: the mode, or which kind of SyncAll
  uint32_t gm_first = 0;  // its bytes in GM: Core::gm_ranges[gm_first, gm_first + gm_count)
  uint32_t gm_count = 0;
  uint32_t l0c_begin = 0, l0c_end = 0;  // its bytes in L0C
  bool atomic = false;
  bool unit_flag = false;
};

using Trace = std::vector<TraceOp>;

struct GmRange {
  uint64_t begin, end;  // host addresses
};

}  // namespace twin
