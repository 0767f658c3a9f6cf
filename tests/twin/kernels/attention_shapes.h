// SPDX-License-Identifier: Apache-2.0
// Tile sizes and workspace of the attention kernel, shared by its cube and vector halves.
#pragma once

#include "kernel_operator.h"

struct AttentionTiling {
  uint32_t tokens;  // multiple of kRows / group
  uint32_t kv_heads;
  uint32_t group;  // query heads of a kv head, divides kRows / 2
  uint32_t keys;   // multiple of kKeys
  float scale;
};

constexpr uint32_t kRows = 64;   // query rows (tokens x group) of a task
constexpr uint32_t kKeys = 128;  // keys of a step
constexpr uint32_t kDim = 192, kValueDim = 128;
constexpr uint32_t kSlots = 2;

// Workspace of one block: rings of S (float), P (half) and O (float) tiles.
constexpr uint32_t kScoreBytes = kRows * kKeys * 4, kProbBytes = kRows * kKeys * 2;
constexpr uint32_t kOutBytes = kRows * kValueDim * 4;
constexpr uint32_t kBlockBytes = kSlots * (kScoreBytes + kProbBytes + kOutBytes);

constexpr uint16_t kScoreReady = 0, kProbReady = 1, kOutReady = 2;

// A task is a tile of query rows of one kv head.
struct Task {
  uint32_t head, token;
  __aicore__ inline Task(const AttentionTiling& t, uint32_t index) {
    const uint32_t tiles = t.tokens * t.group / kRows;
    head = index / tiles;
    token = index % tiles * (kRows / t.group);
  }
};

__aicore__ inline uint32_t TaskCount(const AttentionTiling& t) {
  return t.kv_heads * (t.tokens * t.group / kRows);
}

// The rings in the block's stretch of workspace, by step.
struct Rings {
  GM_ADDR base;
  __aicore__ inline __gm__ float* Score(uint32_t step) const {
    return (__gm__ float*)(base + step % kSlots * kScoreBytes);
  }
  __aicore__ inline __gm__ half* Prob(uint32_t step) const {
    return (__gm__ half*)(base + kSlots * kScoreBytes + step % kSlots * kProbBytes);
  }
  __aicore__ inline __gm__ float* Out(uint32_t step) const {
    return (__gm__ float*)(base + kSlots * (kScoreBytes + kProbBytes) + step % kSlots * kOutBytes);
  }
};
