// Size and members of a parallel team, with or without OpenMP.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "buffer.h"

namespace ms_nsa {
namespace {

// No more threads than tasks: an idle thread still costs its start and its scratch. max_threads 0 is no
// limit.
inline int TeamSize(int64_t tasks, int64_t max_threads) {
#ifdef _OPENMP
  const int64_t threads = Min(tasks, omp_get_max_threads());
  return static_cast<int>(Max(1, max_threads == 0 ? threads : Min(threads, max_threads)));
#else
  return tasks >= 0 || max_threads >= 0;
#endif
}

inline int TeamMember() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

}  // namespace
}  // namespace ms_nsa
