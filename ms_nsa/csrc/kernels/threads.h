// SPDX-License-Identifier: Apache-2.0
// The threads that run a kernel, with or without OpenMP.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "../runtime/float_environment.h"
#include "../runtime/thread_number.h"
#include "../runtime/work_offer.h"
#include "buffer.h"

namespace ms_nsa {
namespace {

inline int64_t MaxThreads() {
#ifdef _OPENMP
  return Threads();
#else
  return 1;
#endif
}

inline int TeamMember() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// No more threads than tasks: an idle thread still costs its start and its scratch. max_threads 0 is no
// limit; where it is one, a thread that waits for the kernel may join.
struct Team {
  Team(int64_t tasks, int64_t max_threads) {
    const int64_t wanted = Max(1, Min(tasks, MaxThreads()));
    threads = static_cast<int>(max_threads == 0 ? wanted : Min(wanted, max_threads));
    joinable = threads < wanted;
  }

  int members() const { return threads + joinable; }

  // Runs member(0) to member(threads - 1) at once, and one more if a thread joins: members share tasks out
  // among those that come.
  template <class F>
  void Run(F member) const {
    struct Join {
      F& member;
      int number;
    } join{member, threads};
    const auto work = [](void* context) {
      const auto* joining = static_cast<Join*>(context);
      const FloatEnvironment environment;
      joining->member(joining->number);
    };
    const WorkOffer offer(joinable ? static_cast<WorkOffer::Work>(work) : nullptr, &join);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const FloatEnvironment environment;
      member(TeamMember());
    }
  }

  int threads;
  bool joinable;
};

// The next of the tasks that the members of a team share.
inline int64_t TakeTask(int64_t* next_task) {
  return __atomic_fetch_add(next_task, 1, __ATOMIC_RELAXED);
}

}  // namespace
}  // namespace ms_nsa
