// SPDX-License-Identifier: Apache-2.0
// What the kernels share that only go through rows once: rows dealt out to threads, and vectors that may be
// cut off at the end of a row.
#pragma once

#include <cstring>

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

// A vector of elements of which only `left` exist.
template <class V, class E>
inline typename V::Reg LoadUpTo(const typename E::Storage* from, int64_t left) {
  return left >= V::kLanes ? E::Load(from)
                           : E::Load(Tail<typename E::Storage, V::kLanes>(from, left).element);
}

template <class V, class E>
inline void StoreUpTo(typename E::Storage* to, typename V::Reg x, int64_t left) {
  if (left >= V::kLanes) return E::Store(to, x);
  typename E::Storage tail[V::kLanes];
  E::Store(tail, x);
  std::memcpy(to, tail, left * sizeof tail[0]);
}

}  // namespace
}  // namespace ms_nsa
