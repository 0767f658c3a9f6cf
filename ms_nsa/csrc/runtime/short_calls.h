// SPDX-License-Identifier: Apache-2.0
// Short calls and long ones share the processors with MindSpore in different ways. While a call runs in
// PyNative mode, up to two of MindSpore's threads wait in busy loops: the one that queues calls and the one
// that reads results. A short call leaves them their processors, and Python prepares the next call meanwhile.
// During a long one Python sleeps (progress.h), and all processors work on it (long_call_team.h).
#pragma once

#include <cstdint>

namespace ms_nsa {

// How op_info counts an operator's work: pairs of a query row and a key, or, where it waits for memory
// whatever the arithmetic, rows of the cache.
enum class WorkUnit { kPairs, kRows };

struct WorkKind {
  WorkUnit unit;
  bool joined;  // Python's thread may join a short call
};

// What Python's thread does while a call runs.
enum class Waiting { kReturn = 0, kJoin = 1, kSleep = 2 };

// For a call with this amount of work; negative work means that it is unknown.
Waiting WaitingFor(int64_t work, WorkKind kind);

// Maximum number of threads of a short call, not counting Python's.
int ShortCallThreads();

}  // namespace ms_nsa
