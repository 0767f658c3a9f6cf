// SPDX-License-Identifier: Apache-2.0
// UB of the choice of blocks, in turn with attention.
#pragma once

#include "attention_workspace.h"
#include "choice_limits.h"
#include "row_vector.h"
#include "unified_buffer.h"

namespace ms_nsa {

struct ChoiceBuffers {
  static constexpr int32_t kColumns = 512;       // windows of a tile of scores
  static constexpr int32_t kTile = 1024;         // blocks whose importance is gathered together
  static constexpr int32_t kPad = kBlockFloats;  // zeros before the first window: a block's windows may begin
                                                 // so much earlier

  UnifiedBuffer* ub;

  __aicore__ inline Floats Scores() const { return ub->In<float>(0, kScoreFloats); }
  // As they lie in GM: eight equal lanes a row.
  __aicore__ inline Floats Max() const { return ub->In<float>(kMaxAt, kLaneFloats); }
  __aicore__ inline Floats Sum() const { return ub->In<float>(kMaxAt + kLaneFloats * 4, kLaneFloats); }
  __aicore__ inline Floats Weights() const { return ub->Out<float>(0, kMostWindows); }
  __aicore__ inline Floats Importance() const { return ub->Out<float>(kImportanceAt, kMostBlocks); }
  // Also what ReduceMax works in.
  __aicore__ inline Floats Term() const { return ub->Out<float>(kTermAt, kTile); }
  __aicore__ inline AscendC::LocalTensor<int32_t> Offsets() const {
    return ub->Out<int32_t>(kTermAt + kTile * 4, kTile);
  }
  __aicore__ inline AscendC::LocalTensor<uint8_t> Numbers() const {
    return ub->Out<uint8_t>(kNumbersAt, kMostBlocks / 8);
  }
  __aicore__ inline AscendC::LocalTensor<int32_t> Chosen() const {
    return ub->Out<int32_t>(kNumbersAt + kMostBlocks / 8, kMostChosen);
  }
  __aicore__ inline Floats Largest() const { return ub->Out<float>(kLargestAt, kBlockFloats); }

 private:
  static constexpr int32_t kScoreFloats = kMaxGroup * kColumns, kLaneFloats = kMaxGroup * kBlockFloats;
  static constexpr int32_t kMaxAt = kScoreFloats * 4;
  static constexpr int32_t kImportanceAt = kMostWindows * 4;
  static constexpr int32_t kTermAt = kImportanceAt + kMostBlocks * 4;
  static constexpr int32_t kNumbersAt = kTermAt + 2 * kTile * 4;
  static constexpr int32_t kLargestAt = kNumbersAt + kMostBlocks / 8 + kMostChosen * 4;

 public:
  static constexpr int32_t kInBytes = kMaxAt + 2 * kLaneFloats * 4;
  static constexpr int32_t kOutBytes = kLargestAt + 32;
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");
  static_assert(kMostBlocks % kLanes == 0 && kMostWindows % kLanes == 0, "whole vectors");
};

}  // namespace ms_nsa
