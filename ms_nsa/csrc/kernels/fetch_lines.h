// SPDX-License-Identifier: Apache-2.0
// Software prefetch.
#pragma once

#include "buffer.h"

namespace ms_nsa {
namespace {

// GCC assumes that a function that only prefetches has no effect and removes calls of it and of its callers.
// A function that contains this statement is kept.
[[gnu::always_inline]] inline void KeepCalls() {
  __asm__ volatile("");
}

// What __builtin_prefetch calls locality.
constexpr int kToL1 = 3, kToL2 = 2;

template <int kLocality, class T>
[[gnu::always_inline]] inline void FetchLine(const T* p) {
  KeepCalls();
  __builtin_prefetch(p, 0, kLocality);
}

// Fetches every line of a row. A row that is not aligned ends in one more line. (MindSpore's CPU tensors
// begin 16 or 48 bytes into a line: without the last lines decode took 15 to 20 % longer.)
template <int kLocality = kToL2>
inline void FetchLines(const void* first, int64_t bytes) {
  KeepCalls();
  constexpr uintptr_t kLine = kAlignment;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(first), end = begin + bytes;
  for (uintptr_t line = begin & ~(kLine - 1); line < end; line += kLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(line), 0, kLocality);
  }
}

// Fetches about kBytes that are needed soon, from within a loop that works on other data. A burst of many
// lines would delay that work.
template <int64_t kBytes>
inline void FetchToRead(const void* first) {
  for (int64_t i = 0; i < kBytes; i += kAlignment)
    __builtin_prefetch(static_cast<const char*>(first) + i, 0, 2);
}
template <int64_t kBytes>
inline void FetchToWrite(void* first) {
  for (int64_t i = 0; i < kBytes; i += kAlignment) __builtin_prefetch(static_cast<char*>(first) + i, 1, 2);
}

}  // namespace
}  // namespace ms_nsa
