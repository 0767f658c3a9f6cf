// SPDX-License-Identifier: Apache-2.0
// Gradient of the softmax from the saved statistics: P = exp(z - max) / sum, dS = scale * P * (dP - delta).
#pragma once

#include "../../simd/exp.h"
#include "grad_balance.h"
#include "row_batch.h"

namespace ms_nsa {
namespace {

// Per row of a chunk.
struct SavedStatistics {
  float* shift;    // the forward's maximum; +inf for a row that saw nothing, so that P is 0
  float* inverse;  // 1 / sum, or 0
  float* delta;    // sum of grad * attention_out, less what softmax_sum's gradient adds to every dP
};

// Gradient of one row's statistic, which may be in any of its lanes; nullptr: zeros.
inline float LaneSum(const float* statistic_grad, int64_t at) {
  float sum = 0.0f;
  if (statistic_grad == nullptr) return sum;
  for (int64_t lane = 0; lane < kStatLanes; ++lane) sum += statistic_grad[at + lane];
  return sum;
}

// P and dS of one row tile in the layouts the products read: rows for dQ, depth pairs of rows for dK and dV.
template <class Dot>
struct GradOperands {
  typename Dot::Operand* ds_rows;   // [row][kKeyTile]
  typename Dot::Operand* ds_depth;  // [row / kPair][kKeyTile][kPair]; with kPair 1 the same memory as ds_rows
  typename Dot::Operand* p_depth;
};

template <class Dot, bool kMasked>
struct GradRow {
  using V = typename Dot::Vec;
  using Reg = typename V::Reg;

  template <int kRows>
  GradRow(const RowBatch<kRows>& batch, int64_t r, const SavedStatistics& saved, float scale)
      : scale_(V::Set1(scale)),
        shift_(V::Set1(saved.shift[batch.row[r]])),
        inverse_(V::Set1(saved.inverse[batch.row[r]])),
        scaled_inverse_(V::Set1(scale * saved.inverse[batch.row[r]])),
        listed_(V::Set1(batch.listed[r])),
        delta_(V::Set1(saved.delta[batch.row[r]])),
        visible_(batch.visible[r]) {}

  // score and dp at vector v of the row become P and dS.
  void Run(float* score, float* dp, int64_t v, Reg& p, Reg& ds) const {
    const auto z = V::Mul(V::Load(score + v * V::kLanes), scale_);
    auto e = Exp<V, Dot::kPreciseExp>(V::Sub(z, shift_));
    if constexpr (kMasked) e = V::Mul(e, listed_);
    p = V::Mul(e, inverse_);
    ds = V::Mul(V::Mul(e, scaled_inverse_), V::Sub(V::Load(dp + v * V::kLanes), delta_));
    if constexpr (kMasked) {
      const auto bits = static_cast<uint32_t>(visible_ >> (v * V::kLanes)) & ((1u << V::kLanes) - 1);
      p = V::Select(V::MaskFromBits(bits), p, V::Zero());
      ds = V::Select(V::MaskFromBits(bits), ds, V::Zero());
      V::Store(score + v * V::kLanes, p);
      V::Store(dp + v * V::kLanes, ds);
    }
  }

 private:
  Reg scale_, shift_, inverse_, scaled_inverse_, listed_, delta_;
  uint64_t visible_;
};

// For the vectors that are seen. The masked variant leaves P and dS in fp32; batches with repeated blocks
// need it. The score gradients of row r are added to sums[r] if they are summed at all.
template <class Dot, bool kMasked, int kRows>
inline void SoftmaxGrad(const RowBatch<kRows>& batch, const SeenVectors& seen, float scale, float* scores,
                        float* dp, const SavedStatistics& saved, float* const* sums,
                        const GradOperands<Dot>& out) {
  using V = typename Dot::Vec;
  const OperandSums<Dot> operand_sums;
  for (int64_t r = 0; r < batch.count; r += Dot::kPair) {
    const bool second = Dot::kPair == 2 && r + 1 < batch.count;
    const GradRow<Dot, kMasked> a(batch, r, saved, scale), b(batch, second ? r + 1 : r, saved, scale);
    auto sum0 = V::Zero(), sum1 = V::Zero();
    for (int64_t v = seen.first; v < seen.end; ++v) {
      auto p0 = V::Zero(), p1 = V::Zero(), ds0 = V::Zero(), ds1 = V::Zero();
      a.Run(scores + r * kKeyTile, dp + r * kKeyTile, v, p0, ds0);
      if (second) b.Run(scores + (r + 1) * kKeyTile, dp + (r + 1) * kKeyTile, v, p1, ds1);
      const int64_t row = r * kKeyTile + v * V::kLanes, depth = r * kKeyTile + v * V::kLanes * Dot::kPair;
      Dot::StoreRow(out.ds_rows + row, ds0);
      if constexpr (Dot::kPair == 2) {
        if (second) Dot::StoreRow(out.ds_rows + row + kKeyTile, ds1);
        Dot::StorePair(out.ds_depth + depth, ds0, ds1);
      }
      Dot::StorePair(out.p_depth + depth, p0, p1);
      operand_sums.Add(sum0, ds0);
      operand_sums.Add(sum1, ds1);
    }
    operand_sums.Finish(sum0, out.ds_rows + r * kKeyTile, seen.first, seen.end, sums[r]);
    if (second)
      operand_sums.Finish(sum1, out.ds_rows + (r + 1) * kKeyTile, seen.first, seen.end, sums[r + 1]);
  }
}

}  // namespace
}  // namespace ms_nsa
