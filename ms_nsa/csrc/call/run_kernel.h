// SPDX-License-Identifier: Apache-2.0
// The last step of every operator's Run: runs the kernel, with threads that suit the length of the call.
#pragma once

#include <algorithm>

#include "../runtime/long_call_team.h"
#include "../runtime/short_calls.h"
#include "../runtime/thread_number.h"

namespace ms_nsa {

// `max_threads` is the field of the kernel's parameters.
template <class Operator, class Params>
void RunKernel(const Operator& op, void (*kernel)(const Params&), const Params& params,
               int64_t& max_threads) {
  const bool is_long = WaitingFor(op.Work(), Operator::kWorkKind) == Waiting::kSleep;
  max_threads = is_long ? 0 : std::min<int64_t>(ShortCallThreads(), Threads());
  if (!is_long) return kernel(params);
  const LongCallTeam team;
  kernel(params);
}

}  // namespace ms_nsa
