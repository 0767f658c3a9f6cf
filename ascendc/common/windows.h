// SPDX-License-Identifier: Apache-2.0
// Windows of compression.
#pragma once

#include "aicore.h"

namespace ms_nsa {

// Windows that end among the first `rows` of a sequence.
MS_NSA_FN int64_t WindowCount(int64_t rows, int64_t compress_block_size, int64_t compress_stride) {
  return rows < compress_block_size ? 0 : (rows - compress_block_size) / compress_stride + 1;
}

}  // namespace ms_nsa
