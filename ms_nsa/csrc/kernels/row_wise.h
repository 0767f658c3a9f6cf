// SPDX-License-Identifier: Apache-2.0
// Rows dealt out to threads, for kernels that go through them once.
#pragma once

#include "../simd/element.h"
#include "threads.h"

namespace ms_nsa {
namespace {

// Rows of a task: some 100 KB, a few microseconds of memory's time.
constexpr int64_t kRowsOfTask = 128;

// Calls row(r) for all rows.
template <class F>
inline void ForEachRow(int64_t rows, int64_t max_threads, F row) {
  const int64_t tasks = CeilDiv(rows, kRowsOfTask);
  const Team team(tasks, max_threads);
  int64_t next_task = 0;
  team.Run([&](int) {
    for (int64_t i; (i = TakeTask(&next_task)) < tasks;) {
      const int64_t end = Min(rows, (i + 1) * kRowsOfTask);
      for (int64_t r = i * kRowsOfTask; r < end; ++r) row(r);
    }
  });
}

}  // namespace
}  // namespace ms_nsa
