// SPDX-License-Identifier: Apache-2.0
// How many windows of raw rows there are.
#pragma once

#include <cstdint>

namespace ms_nsa {
namespace {

// Windows that end among the first `rows` of a sequence.
inline int64_t WindowCount(int64_t rows, int64_t compress_block_size, int64_t compress_stride) {
  return rows < compress_block_size ? 0 : (rows - compress_block_size) / compress_stride + 1;
}

}  // namespace
}  // namespace ms_nsa
