// SPDX-License-Identifier: Apache-2.0
// The choice of blocks in decode: an item's scores are kept until its maxima and sums are known.
#pragma once

#include "../block_choice.h"
#include "decode_merge.h"
#include "saved_scores.h"

namespace ms_nsa {
namespace {

// The most compressed rows that a token of the call sees.
inline int64_t MostWindows(const PagedAttentionParams& p) {
  int64_t most = 0;
  for (int64_t b = 0; b < p.batch; ++b)
    most = Max(most, WindowCount(p.kv_len[b], p.compress_block_size, p.compress_stride));
  return most;
}

template <class V>
class DecodeChoice {
 public:
  // Not used in a call without a choice.
  DecodeChoice(Arena& arena, const PagedAttentionParams& p, int64_t windows)
      : p_(p),
        group_(p.n1 / p.n2),
        choice_(p.choice == nullptr ? kNoChoice : *p.choice),
        overlap_(arena, Max(1, p.compress_block_size), Max(1, p.compress_stride), choice_.block_size),
        chooser_(arena, choice_, MostBlocks()),
        weight_(
            arena.Take<float>(overlap_.before() + RoundUp(windows, V::kLanes) + overlap_.readable_after())),
        importance_(arena.Take<float>(RoundUp(MostBlocks(), V::kLanes))) {}

  void Start() const {
    overlap_.Start();
    for (int64_t i = 0; i < overlap_.before(); ++i) weight_[i] = 0.0f;
  }

  // Writes the indices of the kv head, given its scores and their softmax results.
  void Choose(const DecodeTask& item, int64_t head, const SavedScores& scores, const HeadResults& results) {
    const int64_t windows = VisibleRows(p_, item), position = PositionOf(p_, item);
    const Candidates candidates{position, position < 0 ? 0 : position / choice_.block_size + 1, nullptr};
    float* weight = weight_ + overlap_.before();
    for (int64_t row = 0; row < windows; row += V::kLanes)
      V::Store(weight + row, Weights(scores, row, results));
    for (int64_t i = 0; i < overlap_.after(); ++i) weight[windows + i] = 0.0f;
    overlap_.template Importance<V>(weight, windows, candidates.blocks, importance_);
    const int64_t at = TokenRow(p_, item) * p_.n2 + head;
    chooser_.template Choose<V>(candidates, importance_, p_.chosen_indices + at * choice_.block_count);
  }

 private:
  static constexpr BlockChoice kNoChoice{1, 0, 0, 0, nullptr, 0};

  int64_t MostBlocks() const {
    int64_t most = 0;
    if (choice_.block_count == 0) return most;
    for (int64_t b = 0; b < p_.batch; ++b) most = Max(most, CeilDiv(p_.kv_len[b], choice_.block_size));
    return most;
  }

  // Of rows [row, row + kLanes), of which only those that are windows count: the sum over the heads of
  // exp(score - max) / sum.
  typename V::Reg Weights(const SavedScores& scores, int64_t row, const HeadResults& results) const {
    auto weights = V::Zero();
    for (int64_t h = 0; h < group_; ++h) {
      const float sum = results.sum[h], max = results.max[h];
      if (sum == 0.0f) continue;
      const auto shift = V::Set1(max == kNegativeInfinity ? 0.0f : max);
      const auto e = Exp<V, true>(V::Sub(V::Load(scores.At(h, row)), shift));
      weights = V::Fma(e, V::Set1(1.0f / sum), weights);
    }
    return weights;
  }

  const PagedAttentionParams& p_;
  const int64_t group_;
  const BlockChoice& choice_;
  const BlockOverlap overlap_;
  Chooser chooser_;
  float* weight_;
  float* importance_;
};

}  // namespace
}  // namespace ms_nsa
