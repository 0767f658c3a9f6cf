// SPDX-License-Identifier: Apache-2.0
#include "short_calls.h"

#include <omp.h>

#include <algorithm>

namespace ms_nsa {
namespace {

// Half a millisecond to one of a single thread.
constexpr int64_t kLongPairs = int64_t{1} << 17, kLongRows = int64_t{1} << 13;

// A share of a sixteenth of that is worth a meeting of two threads.
constexpr int64_t kLeastShare = 16;

constexpr int kBusyThreads = 2;  // of MindSpore

}  // namespace

Waiting WaitingFor(int64_t work, WorkKind kind) {
  const int64_t long_work = kind.unit == WorkUnit::kRows ? kLongRows : kLongPairs;
  if (work >= long_work) return Waiting::kSleep;
  return kind.joined && work >= long_work / kLeastShare ? Waiting::kJoin : Waiting::kReturn;
}

int ShortCallThreads() {
  return std::max(1, omp_get_num_procs() - kBusyThreads);
}

}  // namespace ms_nsa
