// SPDX-License-Identifier: Apache-2.0
// The choice of blocks in decode: an item's scores are kept until its maxima and sums are known.
#pragma once

#include "../block_choice.h"
#include "decode_merge.h"

namespace ms_nsa {
namespace {

// The most compressed rows that a token of the call sees.
inline int64_t MostWindows(const PagedAttentionParams& p) {
  int64_t most = 0;
  for (int64_t b = 0; b < p.batch; ++b)
    most = Max(most, WindowCount(p.kv_len[b], p.compress_block_size, p.compress_stride));
  return most;
}

// Scaled scores [item][row][padded_heads].
struct SavedScores {
  float* memory;
  int64_t rows, padded_heads;

  // With one more vector at the end, because rows are read in whole vectors.
  template <class V>
  static SavedScores Take(Arena& arena, int64_t items, int64_t rows, int64_t padded_heads) {
    return {arena.Take<float>(Size(items, rows, padded_heads) + V::kLanes), rows, padded_heads};
  }
  static int64_t Size(int64_t items, int64_t rows, int64_t padded_heads) {
    return items * rows * padded_heads;
  }
  float* At(int64_t item, int64_t row) const { return memory + (item * rows + row) * padded_heads; }
};

template <class V>
class DecodeChoice {
 public:
  // Not used in a call without a choice.
  DecodeChoice(Arena& arena, const PagedAttentionParams& p, int64_t windows, int64_t padded_heads)
      : p_(p),
        group_(p.n1 / p.n2),
        padded_heads_(padded_heads),
        pattern_(Max(padded_heads, V::kLanes)),
        choice_(p.choice == nullptr ? kNoChoice : *p.choice),
        overlap_(arena, Max(1, p.compress_block_size), Max(1, p.compress_stride), choice_.block_size),
        chooser_(arena, choice_, MostBlocks()),
        weight_(arena.Take<float>(overlap_.before() + windows + overlap_.readable_after())),
        importance_(arena.Take<float>(RoundUp(MostBlocks(), V::kLanes))),
        max_(arena.Take<float>(pattern_)),
        inverse_(arena.Take<float>(pattern_)) {}

  void Start() const {
    overlap_.Start();
    for (int64_t i = 0; i < overlap_.before(); ++i) weight_[i] = 0.0f;
  }

  // Writes the item's indices, given its scores (in whole vectors) and their softmax results.
  void Choose(const DecodeTask& item, const float* scores, const HeadResults& results) {
    const int64_t windows = VisibleRows(p_, item), position = PositionOf(p_, item);
    const Candidates candidates{position, position < 0 ? 0 : position / choice_.block_size + 1, nullptr};
    float* weight = weight_ + overlap_.before();
    StartPattern(results);
    if (padded_heads_ >= V::kLanes) {
      SumOverVectors(scores, windows, weight);
    } else {
      SumOverLanes(scores, windows, weight);
    }
    for (int64_t i = 0; i < overlap_.after(); ++i) weight[windows + i] = 0.0f;
    overlap_.template Importance<V>(weight, windows, candidates.blocks, importance_);
    const int64_t at = TokenRow(p_, item) * p_.n2 + item.head;
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

  void StartPattern(const HeadResults& results) const {
    for (int64_t i = 0; i < pattern_; ++i) {
      const int64_t h = i % padded_heads_;
      const bool used = h < group_ && results.sum[h] != 0.0f;
      max_[i] = used && results.max[h] != kNegativeInfinity ? results.max[h] : 0.0f;
      inverse_[i] = used ? 1.0f / results.sum[h] : 0.0f;
    }
  }

  // exp(score - max) / sum; a missing head has score 0 and weight 0.
  typename V::Reg Weight(const float* score, int64_t i) const {
    return V::Mul(Exp<V, true>(V::Sub(V::Load(score), V::Load(max_ + i))), V::Load(inverse_ + i));
  }

  // weight[row] = sum over the heads, which are whole vectors.
  void SumOverVectors(const float* scores, int64_t windows, float* weight) const {
    for (int64_t row = 0; row < windows; ++row, scores += padded_heads_) {
      auto sum = V::Zero();
      for (int64_t i = 0; i < padded_heads_; i += V::kLanes) sum = V::Add(sum, Weight(scores + i, i));
      weight[row] = V::ReduceAdd(sum);
    }
  }

  // The same for heads that are a part of a vector.
  void SumOverLanes(const float* scores, int64_t windows, float* weight) const {
    float lane[V::kLanes];
    const int64_t rows = V::kLanes / padded_heads_;
    for (int64_t row = 0; row < windows; row += rows, scores += V::kLanes) {
      V::Store(lane, Weight(scores, 0));
      for (int64_t r = 0; r < Min(rows, windows - row); ++r) {
        float sum = lane[r * padded_heads_];
        for (int64_t h = 1; h < padded_heads_; ++h) sum += lane[r * padded_heads_ + h];
        weight[row + r] = sum;
      }
    }
  }

  const PagedAttentionParams& p_;
  const int64_t group_, padded_heads_, pattern_;
  const BlockChoice& choice_;
  const BlockOverlap overlap_;
  Chooser chooser_;
  float* weight_;
  float* importance_;
  float* max_;  // per lane
  float* inverse_;
};

}  // namespace
}  // namespace ms_nsa
