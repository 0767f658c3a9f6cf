// SPDX-License-Identifier: Apache-2.0
// The OpenMP threads of a long call.
#pragma once

namespace ms_nsa {

// While it lives, the calling thread's team is ready. On few processors its threads begin apart: libgomp's
// begin where the thread that makes them runs, and that one meanwhile waits in a busy loop for them, which on
// two processors went on for 3 to 7 ms. A small team's threads end with it instead of spinning on.
class LongCallTeam {
 public:
  LongCallTeam();
  ~LongCallTeam();
  LongCallTeam(const LongCallTeam&) = delete;
  LongCallTeam& operator=(const LongCallTeam&) = delete;
};

}  // namespace ms_nsa
