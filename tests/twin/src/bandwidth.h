// SPDX-License-Identifier: Apache-2.0
// Transfers between GM and the cores that are under way together: what each gets of HBM and of L2.
#pragma once

#include <vector>

#include "trace.h"

namespace twin {

struct Transfer {
  int core, pipe;
  double left;     // share of the transfer still to do, 1 to 0
  double alone;    // cycles with all memory to itself
  double hbm, l2;  // bytes that it takes of each
  const TraceOp* op;
  double begin;
  double not_before;  // it cannot end earlier
  double rate = 0;    // shares a cycle
};

// Sets the rates: each transfer at most 1 / alone, HBM and L2 divided evenly among those that could use more.
void ShareBandwidth(std::vector<Transfer>& transfers, double hbm_per_cycle, double l2_per_cycle);

}  // namespace twin
