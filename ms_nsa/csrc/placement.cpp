#include "placement.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace ms_nsa {

#ifdef __linux__
namespace {

// More processors have some free one at hand.
constexpr int kFewProcessors = 8;

}  // namespace

int CurrentProcessor() {
  return sched_getcpu();
}

void LeaveProcessor(int processor, int member) {
  cpu_set_t allowed, one;
  if (member == 0 || processor < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int processors = CPU_COUNT(&allowed);
  if (member >= processors || processors > kFewProcessors) return;
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

}  // namespace ms_nsa
