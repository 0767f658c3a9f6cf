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
  uint64_t token = 0;  // cross-core: see CrossToken
};

using Trace = std::vector<TraceOp>;

}  // namespace twin
