// Softmax of rows whose scores arrive tile by tile: running maximum and sum, and the factor that corrects
// what was accumulated under an older maximum.
#pragma once

#include "exp.h"
#include "row_batch.h"

namespace ms_nsa {
namespace {

struct RowStatistics {
  float* max;  // of scaled and masked scores
  float* sum;  // of exp(score - max)
};

// Scales a row of scores in place, puts -inf where a key is not visible, and returns the row's maximum.
template <class V, bool kMasked>
inline float ScaleRow(float* score, int64_t vectors, typename V::Reg scale, uint64_t visible) {
  const auto hidden = V::Set1(kNegativeInfinity);
  auto max = hidden;
  for (int64_t v = 0; v < vectors; ++v) {
    auto z = V::Mul(V::Load(score + v * V::kLanes), scale);
    if constexpr (kMasked) {
      const auto bits = static_cast<uint32_t>(visible >> (v * V::kLanes)) & ((1u << V::kLanes) - 1);
      z = V::Select(V::MaskFromBits(bits), z, hidden);
    }
    V::Store(score + v * V::kLanes, z);
    max = V::Max(max, z);
  }
  return V::ReduceMax(max);
}

// Exponentials of a row under its maximum as an operand row; returns their sum. kKeep also leaves them in
// score.
template <class Dot, bool kKeep>
inline float ExpRow(float* score, int64_t vectors, float shift, typename Dot::Operand* probability) {
  using V = typename Dot::Vec;
  const auto by = V::Set1(shift);
  auto sum = V::Zero();
  for (int64_t v = 0; v < vectors; ++v) {
    const auto e = Exp<V, Dot::kPreciseExp>(V::Sub(V::Load(score + v * V::kLanes), by));
    sum = V::Add(sum, e);
    Dot::StoreRow(probability + v * V::kLanes, e);
    if constexpr (kKeep) V::Store(score + v * V::kLanes, e);
  }
  return V::ReduceAdd(sum);
}

// Replaces the scores [row][kKeyTile] by probabilities and advances the statistics; factor[r] corrects older
// results. In the masked variant the scores become the probabilities in fp32.
template <class Dot, bool kMasked, int kRows>
inline void OnlineSoftmax(const RowBatch<kRows>& batch, int64_t vectors, float scale, float* scores,
                          typename Dot::Operand* probabilities, const RowStatistics& statistics,
                          float* factor) {
  using V = typename Dot::Vec;
  const auto by = V::Set1(scale);
  float shift[kRows];
  for (int64_t r = 0; r < batch.count; ++r) {
    float& running = statistics.max[batch.row[r]];
    const float max = ScaleRow<V, kMasked>(scores + r * kKeyTile, vectors, by, batch.visible[r]);
    const float old = running;
    running = max < old ? old : max;
    shift[r] = running == kNegativeInfinity ? 0.0f : running;
    factor[r] = old - shift[r];
  }
  for (int64_t r = 0; r < batch.count; r += V::kLanes) {
    V::Store(factor + r, Exp<V, Dot::kPreciseExp>(V::Load(factor + r)));
  }
  for (int64_t r = 0; r < batch.count; ++r) {
    const float sum = ExpRow<Dot, kMasked>(scores + r * kKeyTile, vectors, shift[r] - batch.log_count[r],
                                           probabilities + r * kKeyTile);
    float& running = statistics.sum[batch.row[r]];
    running = running * factor[r] + sum;
  }
}

}  // namespace
}  // namespace ms_nsa
