// Scores of a tile of cache rows, in two ways with one interface: score[vector][key of the vector][head], of
// one group of kHeads heads after the other.
#pragma once

#include "paged_rows.h"
#include "scattered_prefetch.h"
#include "scratch_rows.h"

namespace ms_nsa {
namespace {

// How kHeads heads and a tile's rows lie in vectors.
template <class Dot, int kHeads>
struct ScoreLayout {
  static constexpr int kVectorKeys = Dot::Vec::kLanes / kHeads;
  // Keys whose probabilities become one or two operand vectors.
  static constexpr int kStep = kVectorKeys * Dot::kPair;
  static_assert(kDecodeRows % kStep == 0, "a tile is whole steps");

  // The tile's row at a place: of kPair vectors that are stored as one operand, the first holds the even
  // rows.
  static constexpr int64_t Row(int64_t place) {
    const int64_t vector = place / kVectorKeys, key = place % kVectorKeys;
    return (vector / Dot::kPair * kVectorKeys + key) * Dot::kPair + vector % Dot::kPair;
  }
};

// For few heads. Keys are read where they lie; the depth lies in the lanes while products are summed, and
// lanes are added up afterwards.
template <class Dot, class E, int kHeadCount>
class DepthScores {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = kHeadCount;
  using Layout = ScoreLayout<Dot, kHeads>;
  // As many accumulators as registers allow: whole vectors of sums.
  static constexpr int kSums = V::kTileRows * V::kTileVectors >= 16 ? 16 : V::kLanes;
  static constexpr int kKeys = kSums / kHeads;
  static constexpr int64_t kTileStep = Max(Layout::kStep, kKeys);

  DepthScores(Arena& arena, int64_t width)
      : stride_(RowStride<Dot>(width)), width_(width), rows_(arena, kDecodeRows, width, stride_) {}

  int64_t query_size() const { return kHeads * stride_; }

  void PackQuery(const S* query, int64_t heads, Operand* packed) const {
    for (int64_t h = 0; h < heads; ++h) PackRow<Dot, E>(query + h * width_, width_, packed + h * stride_);
    std::memset(packed + heads * stride_, 0, (kHeads - heads) * stride_ * sizeof(Operand));
  }

  int64_t portions(int64_t keys, int64_t) const { return keys / kKeys; }

  void Score(const S** row, int64_t count, int64_t keys, const Operand* query, int64_t groups, float* score,
             ScatteredPrefetch<S> prefetch) {
    rows_.Pad(row, count, keys);
    for (int64_t i = 0; i < keys; i += kKeys) {
      prefetch.NextPortion();
      const S* key[kKeys];
      for (int k = 0; k < kKeys; ++k) key[k] = row[Layout::Row(i + k)];
      for (int64_t g = 0; g < groups; ++g) {
        ScoreKeys(key, query + g * query_size(), score + (g * kDecodeRows + i) * kHeads);
      }
    }
  }

 private:
  void ScoreKeys(const S* const* key, const Operand* query, float* score) const {
    constexpr int kStep = V::kLanes * Dot::kPair;
    typename Dot::Reg sum[kSums];
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < stride_; d += kStep) {
      typename Dot::B k[kKeys];
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; ++i) k[i] = Dot::template LoadRow<E>(key[i] + d);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const auto q = Dot::LoadB(query + h * stride_ + d);
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) sum[i * kHeads + h] = Dot::MulAdd(sum[i * kHeads + h], k[i], q);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kSums; v += V::kLanes) V::Store(score + v, V::SumEach(sum + v));
  }

  const int64_t stride_, width_;
  const PaddedRows<S> rows_;
};

// For many heads. The heads lie in the lanes and elements of copied keys are broadcast: nothing to add up.
template <class Dot, class E>
class HeadScores {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = V::kLanes;
  using Layout = ScoreLayout<Dot, kHeads>;
  static constexpr int kKeys = 8;  // accumulators enough to hide the latency of a product
  static constexpr int64_t kTileStep = Max(Layout::kStep, kKeys);

  HeadScores(Arena& arena, int64_t width)
      : stride_(RowStride<Dot>(width)), width_(width), key_(arena.Take<Operand>(kKeys * stride_)) {}

  int64_t query_size() const { return PackedSize<Dot>(width_, kHeads); }

  void PackQuery(const S* query, int64_t heads, Operand* packed) const {
    PackTransposed<Dot, E>(query, width_, heads, width_, packed);
  }

  int64_t portions(int64_t keys, int64_t groups) const {
    return keys / kKeys * groups * CeilDiv(width_, kDepth);
  }

  void Score(const S** row, int64_t count, int64_t keys, const Operand* query, int64_t groups, float* score,
             ScatteredPrefetch<S> prefetch) {
    for (int64_t i = 0; i < keys; i += kKeys) {
      for (int k = 0; k < kKeys; ++k) {
        // Beyond the last row some row is scored again; the softmax hides that.
        const int64_t at = Min(Layout::Row(i + k), count - 1);
        CopyRow<Dot, E>(row[at], width_, key_ + k * stride_);
      }
      for (int64_t g = 0; g < groups; ++g) {
        ScoreKeys(query + g * query_size(), score + (g * kDecodeRows + i) * kHeads, prefetch);
      }
    }
  }

 private:
  void ScoreKeys(const Operand* query, float* score, ScatteredPrefetch<S>& prefetch) const {
    typename Dot::Reg sum[kKeys];
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) sum[i] = V::Zero();
    for (int64_t first = 0; first < width_; first += kDepth) {
      prefetch.NextPortion();
      const int64_t end = Min(first + kDepth, width_);
      for (int64_t d = first; d < end; d += Dot::kPair, query += kHeads * Dot::kPair) {
        const auto q = Dot::LoadB(query);
#pragma GCC unroll 8
        for (int i = 0; i < kKeys; ++i) sum[i] = Dot::MulAddBroadcast(sum[i], key_ + i * stride_ + d, q);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) V::Store(score + i * kHeads, sum[i]);
  }

  static constexpr int64_t kDepth = 32 * Dot::kPair;  // between two portions, some 70 ns
  const int64_t stride_, width_;
  Operand* key_;  // the rows that are being scored
};

}  // namespace
}  // namespace ms_nsa
