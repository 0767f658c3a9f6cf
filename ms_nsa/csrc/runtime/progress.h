// SPDX-License-Identifier: Apache-2.0
// Counts kernel runs, so that a thread can sleep until a kernel that it asked for has ended.
#pragma once

#include <cstdint>

namespace ms_nsa {

// One run of a kernel, from the start to the end of its scope.
class KernelRun {
 public:
  KernelRun();
  ~KernelRun();
  KernelRun(const KernelRun&) = delete;
  KernelRun& operator=(const KernelRun&) = delete;
};

// Kernel runs that have ended since the library was loaded.
int64_t EndedRuns();

// Sleeps until more than `ended` runs have ended, or until no kernel runs and `patience_ms` have passed: a
// call that fails early never starts a kernel.
void AwaitRun(int64_t ended, int64_t patience_ms);

// The same for a run of less than a millisecond: at first it does not sleep but helps with the work
// (work_offer.h).
void JoinRun(int64_t ended, int64_t patience_ms);

}  // namespace ms_nsa
