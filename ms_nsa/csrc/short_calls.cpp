// SPDX-License-Identifier: Apache-2.0
#include "short_calls.h"

#include <omp.h>

#include <algorithm>

#include "arguments.h"

namespace ms_nsa {
namespace {

// Half a millisecond to one of a single thread: pairs of a query row and a key, and for decode, which waits
// for memory whatever the group, rows of the cache.
constexpr int64_t kLongPairs = int64_t{1} << 17, kLongRows = int64_t{1} << 13;

// A share of a sixteenth of that is worth a meeting of two threads.
constexpr int64_t kLeastShare = 16;

constexpr int kBusyThreads = 2;  // of MindSpore

}  // namespace

int64_t LongItems(const std::string& op, int64_t group, int64_t rows) {
  const int64_t work = op == kInferName ? kLongRows : kLongPairs / std::max<int64_t>(group, 1);
  return std::max<int64_t>(work / std::max<int64_t>(rows, 1), 1);
}

int64_t SharedItems(const std::string& op, int64_t group, int64_t rows) {
  const int64_t items = LongItems(op, group, rows);
  return op == kGradName ? items : std::max<int64_t>(items / kLeastShare, 1);
}

int ShortCallThreads() {
  return std::max(1, omp_get_num_procs() - kBusyThreads);
}

}  // namespace ms_nsa
