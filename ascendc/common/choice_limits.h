// SPDX-License-Identifier: Apache-2.0
// What the choice of blocks in decode has room for in UB: 128K raw rows at the smallest sizes, and some more.
#pragma once

#include <cstdint>

namespace ms_nsa {

constexpr int32_t kMostChosen = 96;     // select_block_count
constexpr int32_t kMostBlocks = 9216;   // select blocks of a sequence
constexpr int32_t kMostWindows = 9472;  // windows that its blocks share rows with, and zeros around them

}  // namespace ms_nsa
