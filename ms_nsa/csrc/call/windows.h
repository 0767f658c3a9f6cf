// SPDX-License-Identifier: Apache-2.0
// The number of compressed rows of sequences.
#pragma once

#include <cstdint>
#include <vector>

#include "../kernels/windows.h"

namespace ms_nsa {

// Prefix sums of compressed rows for checked prefix sums of raw rows; not empty, as there is a sequence.
inline std::vector<int64_t> CompressedEnds(const int64_t* raw_ends, int64_t batch,
                                           int64_t compress_block_size, int64_t compress_stride) {
  std::vector<int64_t> ends;
  int64_t raw = 0, rows = 0;
  for (int64_t b = 0; b < batch; ++b) {
    rows += WindowCount(raw_ends[b] - raw, compress_block_size, compress_stride);
    raw = raw_ends[b];
    ends.push_back(rows);
  }
  return ends;
}

}  // namespace ms_nsa
