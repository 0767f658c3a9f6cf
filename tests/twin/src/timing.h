// SPDX-License-Identifier: Apache-2.0
// Event simulation of a traced launch: when each instruction would start and end. "Modelled", never measured.
#pragma once

#include <string>
#include <vector>

#include "machine.h"
#include "timing_table.h"

namespace twin {

struct Span {
  double begin, end;
  const TraceOp* op;
};

struct CoreTimeline {
  std::vector<Span> spans;
  double end = 0;
  double busy[kPipes] = {};
  double arithmetic = 0;  // cycles in which the cube multiplies or the vector unit does a repeat
};

struct Timeline {
  TimingTable table;
  std::vector<CoreTimeline> cores;
  double end = 0;
  double start_us = 0;  // before the first instruction
  double hbm_bytes = 0, l2_hit_bytes = 0;
};

Timeline Simulate(Machine& machine, const TimingTable& table = {});
std::string TimingJson(Machine& machine, const Timeline& timeline);
std::string ChromeTrace(Machine& machine, const Timeline& timeline);

}  // namespace twin
