// SPDX-License-Identifier: Apache-2.0
// What the kernels of compression have room for.
#pragma once

#include <cstdint>

namespace ms_nsa {

constexpr int32_t kMaxCompressHeads = 128;
constexpr int32_t kMaxHeadDim = 256;
constexpr int32_t kMaxWindowRows = 128;
constexpr int32_t kMaxPartHeads = 8;  // of a part, more only cost room for weights
constexpr int32_t kPartElements = kMaxPartHeads * kMaxHeadDim;

// Of a slice: two of them in 16 bits and one in float lie in UB beside the sums.
constexpr int32_t kSliceElements = 8192;
constexpr int32_t kSumFloats = 16384;  // of all windows that share a row
constexpr int32_t kMaxSumRows = 16;    // pages are a multiple of so many rows

// Of the gradient: a part's row; of all windows that share a row, their gradients' rows; a part's weights.
constexpr int32_t kGradPartElements = 512;
constexpr int32_t kGradLiveElements = 2048;
constexpr int32_t kGradPartWeights = 128;

// The weight's partial sums are added so many pieces at a time.
constexpr int32_t kMergedPieces = 128;
constexpr int32_t kMergedColumns = 64;

}  // namespace ms_nsa
