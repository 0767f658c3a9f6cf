// SPDX-License-Identifier: Apache-2.0
// Sorting without std::sort, whose instances could be shared between units of different instruction sets
// (buffer.h).
#pragma once

#include <cstdint>

namespace ms_nsa {
namespace {

template <class T, class Less>
inline void SiftDown(T* data, int64_t root, int64_t count, Less less) {
  const T value = data[root];
  for (int64_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && less(data[child], data[child + 1])) ++child;
    if (!less(value, data[child])) break;
    data[root] = data[child];
    root = child;
  }
  data[root] = value;
}

template <class T, class Less>
inline void HeapSort(T* data, int64_t count, Less less) {
  for (int64_t i = count / 2; i-- > 0;) SiftDown(data, i, count, less);
  for (int64_t end = count - 1; end > 0; --end) {
    const T first = data[0];
    data[0] = data[end];
    data[end] = first;
    SiftDown(data, 0, end, less);
  }
}

}  // namespace
}  // namespace ms_nsa
