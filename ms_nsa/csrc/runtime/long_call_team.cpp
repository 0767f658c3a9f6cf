// SPDX-License-Identifier: Apache-2.0
#include "long_call_team.h"

#include <omp.h>

#include <algorithm>
#ifdef __linux__
#include <sched.h>
#endif

#include "thread_number.h"

namespace ms_nsa {
namespace {

// More processors have some free one at hand.
constexpr int kFewProcessors = 4;

// Starting a thread takes 10 to 30 us; a larger team costs more than its spinning does.
constexpr int kSmallTeam = 8;

#ifdef __linux__
int CurrentProcessor() {
  return sched_getcpu();
}

// Moves a member of a team, not its first, away from that processor to one of its own among those it may use.
// It is not bound there.
void LeaveProcessor(int processor, int member) {
  cpu_set_t allowed, one;
  if (member == 0 || processor < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  if (member >= CPU_COUNT(&allowed)) return;
  int skip = member - 1, cpu = 0;  // processors other than the first member's
  while (!CPU_ISSET(cpu, &allowed) || cpu == processor || skip-- > 0) {
    if (++cpu == CPU_SETSIZE) return;
  }
  if (cpu == sched_getcpu()) return;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
int CurrentProcessor() {
  return -1;
}

void LeaveProcessor(int, int) {}
#endif

}  // namespace

LongCallTeam::LongCallTeam() {
  const int threads = Threads(), processors = omp_get_num_procs();
  if (threads == 1 || processors == 1 || processors > kFewProcessors) return;
  const int processor = CurrentProcessor();
  // Of a team larger than the processors, libgomp lets those that wait sleep: all can begin and move.
#pragma omp parallel num_threads(std::max(threads, processors + 1))
  LeaveProcessor(processor, omp_get_thread_num());
}

LongCallTeam::~LongCallTeam() {
  if (Threads() <= kSmallTeam) omp_pause_resource_all(omp_pause_soft);
}

}  // namespace ms_nsa
