// SPDX-License-Identifier: Apache-2.0
// Softmax of rows whose scores arrive tile by tile: running maximum and sum, and the factor that corrects
// results accumulated with an older maximum.
#pragma once

#include "../../simd/exp.h"
#include "row_batch.h"

namespace ms_nsa {
namespace {

struct RowStatistics {
  float* max;  // of scaled and masked scores
  float* sum;  // of exp(score - max)
};

// The lanes' maxima of a row of scores after scaling. The masked variant leaves the scaled scores in place,
// -inf where a key is not visible.
template <class V, bool kMasked>
inline typename V::Reg RowMaxima(float* score, int64_t vectors, typename V::Reg scale, uint64_t visible) {
  const auto hidden = V::Set1(kNegativeInfinity);
  auto max = hidden;
  for (int64_t v = 0; v < vectors; ++v) {
    auto z = V::Mul(V::Load(score + v * V::kLanes), scale);
    if constexpr (kMasked) {
      const auto bits = static_cast<uint32_t>(visible >> (v * V::kLanes)) & ((1u << V::kLanes) - 1);
      z = V::Select(V::MaskFromBits(bits), z, hidden);
      V::Store(score + v * V::kLanes, z);
    }
    max = V::Max(max, z);
  }
  return max;
}

// exp(z - shift) of rows of scores, where z = scale * score is rounded first, as RowMaxima and the gradient
// see it: the row's own maximum weighs exactly 1, however large it is.
template <class Dot, bool kMasked>
class RowExp {
 public:
  using V = typename Dot::Vec;

  explicit RowExp(float scale) : scale_(V::Set1(scale)) {}

  // Writes a row as an operand row and returns the lanes' sums. The masked variant, whose scores are scaled,
  // multiplies by `listed` and leaves the results in score.
  typename V::Reg operator()(float* score, int64_t vectors, float shift, float listed,
                             typename Dot::Operand* probability) const {
    const Row row{V::Set1(shift), V::Set1(listed)};
    auto sum = V::Zero();
    int64_t v = 0;
    for (; v + 2 <= vectors; v += 2) {  // whose conversion to operands is one
      const auto first = Term(score + v * V::kLanes, row, sum),
                 second = Term(score + (v + 1) * V::kLanes, row, sum);
      Dot::StoreRow(probability + v * V::kLanes, first, second);
    }
    if (v < vectors) Dot::StoreRow(probability + v * V::kLanes, Term(score + v * V::kLanes, row, sum));
    return sum;
  }

 private:
  struct Row {
    typename V::Reg shift, listed;
  };

  typename V::Reg Term(float* score, const Row& row, typename V::Reg& sum) const {
    auto z = V::Load(score);
    if constexpr (!kMasked) z = V::Mul(z, scale_);
    auto e = Exp<V, Dot::kPreciseExp>(V::Sub(z, row.shift));
    if constexpr (kMasked) {
      e = V::Mul(e, row.listed);
      V::Store(score, e);
    }
    sum = V::Add(sum, e);
    return e;
  }

  typename V::Reg scale_;
};

// Replaces the scores [row][kKeyTile] of the vectors that are seen by probabilities and advances the
// statistics; factor[r] corrects older results. In the masked variant the scores become the probabilities in
// fp32. Rows are taken kLanes at a time, so that their maxima and sums are folded together. Batches with
// repeated blocks need the masked variant.
template <class Dot, bool kMasked, int kRows>
inline void OnlineSoftmax(const RowBatch<kRows>& batch, const SeenVectors& seen, float scale, float* scores,
                          typename Dot::Operand* probabilities, const RowStatistics& statistics,
                          float* factor) {
  using V = typename Dot::Vec;
  const int64_t first_key = seen.first * V::kLanes, vectors = seen.end - seen.first;
  const auto by = V::Set1(scale);
  const RowExp<Dot, kMasked> row_exp(scale);
  float old[V::kLanes], max[V::kLanes], shift[V::kLanes], sum[V::kLanes];
  typename V::Reg lanes[V::kLanes];
  for (auto& row : lanes) row = V::Zero();
  for (int64_t first = 0; first < batch.count; first += V::kLanes) {
    const int64_t rows = Min(V::kLanes, batch.count - first);
    for (int64_t r = 0; r < rows; ++r) {
      lanes[r] = RowMaxima<V, kMasked>(scores + (first + r) * kKeyTile + first_key, vectors, by,
                                       batch.visible[first + r] >> first_key);
    }
    V::Store(max, V::MaxEach(lanes));
    for (int64_t r = 0; r < rows; ++r) {
      float& running = statistics.max[batch.row[first + r]];
      old[r] = running;
      running = max[r] < old[r] ? old[r] : max[r];
      shift[r] = running == kNegativeInfinity ? 0.0f : running;
    }
    V::Store(factor + first, Exp<V, Dot::kPreciseExp>(V::Sub(V::Load(old), V::Load(shift))));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = (first + r) * kKeyTile + first_key;
      lanes[r] = row_exp(scores + at, vectors, shift[r], batch.listed[first + r], probabilities + at);
    }
    V::Store(sum, V::SumEach(lanes));
    for (int64_t r = 0; r < rows; ++r) {
      float& running = statistics.sum[batch.row[first + r]];
      running = running * factor[first + r] + sum[r];
    }
  }
}

}  // namespace
}  // namespace ms_nsa
