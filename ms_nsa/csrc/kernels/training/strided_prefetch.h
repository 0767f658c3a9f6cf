// SPDX-License-Identifier: Apache-2.0
// Prefetches the rows of the next key tile into the second-level cache, a few at a time, while the current
// tile is computed. The rows of one head are a whole token apart, which hardware prefetchers do not follow.
#pragma once

#include "../fetch_lines.h"

namespace ms_nsa {
namespace {

class StridedPrefetch {
 public:
  StridedPrefetch() = default;
  StridedPrefetch(const void* first, int64_t row_bytes, int64_t stride_bytes, int64_t rows)
      : next_(static_cast<const char*>(first)), row_bytes_(row_bytes), stride_(stride_bytes), left_(rows) {}

  void Advance(int64_t rows) {
    for (rows = Min(rows, left_); rows > 0; --rows, --left_, next_ += stride_) FetchLines(next_, row_bytes_);
  }

 private:
  const char* next_ = nullptr;
  int64_t row_bytes_ = 0, stride_ = 0, left_ = 0;
};

}  // namespace
}  // namespace ms_nsa
