// SPDX-License-Identifier: Apache-2.0
// The scaled scores of items, kept until the maxima and sums of their softmax are known.
#pragma once

#include "../buffer.h"
#include "../tiling.h"

namespace ms_nsa {
namespace {

// [head][row] of one item; rows of a head end in whole tiles.
struct SavedScores {
  float* memory;
  int64_t stride;

  static int64_t Stride(int64_t rows) { return RoundUp(rows, kDecodeRows); }

  float* At(int64_t head, int64_t row) const { return memory + head * stride + row; }
  SavedScores OfHead(int64_t head) const { return {At(head, 0), stride}; }
};

}  // namespace
}  // namespace ms_nsa
