// Scores of cache rows that are read where they lie, without packing; in two ways, with one interface.
#pragma once

#include "pack.h"

namespace ms_nsa {
namespace {

// The depth lies in the lanes while products are summed; lanes are added up afterwards. For any element type.
template <class Dot, class E, int kHeadCount>
struct DepthScores {
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = kHeadCount;
  // As many accumulators as registers allow: whole vectors of sums.
  static constexpr int kSums = V::kTileRows * V::kTileVectors >= 16 ? 16 : V::kLanes;
  static constexpr int kKeys = kSums / kHeads;

  // Of kHeads heads.
  static int64_t QuerySize(int64_t width) { return kHeads * RowStride<Dot>(width); }

  static void PackQuery(const S* query, int64_t heads, int64_t width, Operand* packed) {
    const int64_t stride = RowStride<Dot>(width);
    for (int64_t h = 0; h < heads; ++h) PackRow<Dot, E>(query + h * width, width, packed + h * stride);
    std::memset(packed + heads * stride, 0, (kHeads - heads) * stride * sizeof(Operand));
  }

  // score[key][head]; rows are padded to RowStride elements.
  static void Score(const S* const* key, const Operand* query, int64_t width, float* score) {
    constexpr int kStep = V::kLanes * Dot::kPair;
    const int64_t stride = RowStride<Dot>(width);
    typename Dot::Reg sum[kSums];
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < stride; d += kStep) {
      typename Dot::B k[kKeys];
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; ++i) k[i] = Dot::template LoadRow<E>(key[i] + d);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const auto q = Dot::LoadB(query + h * stride + d);
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) sum[i * kHeads + h] = Dot::MulAdd(sum[i * kHeads + h], k[i], q);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kSums; v += V::kLanes) V::Store(score + v, V::SumEach(sum + v));
  }
};

// The heads lie in the lanes and elements of the keys are broadcast: nothing to add up, but the rows must
// hold operands, and lanes without a head are lost.
template <class Dot, class E>
struct HeadScores {
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int kHeads = V::kLanes;
  static constexpr int kKeys = 8;  // more than the latency of a product, and a pointer for each in registers

  static int64_t QuerySize(int64_t width) { return PackedSize<Dot>(width, kHeads); }

  static void PackQuery(const S* query, int64_t heads, int64_t width, Operand* packed) {
    PackTransposed<Dot, E>(query, width, heads, width, packed);
  }

  static void Score(const S* const* key, const Operand* query, int64_t width, float* score) {
    typename Dot::Reg sum[kKeys];
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) sum[i] = V::Zero();
    for (int64_t d = 0; d < width; d += Dot::kPair, query += kHeads * Dot::kPair) {
      const auto q = Dot::LoadB(query);
#pragma GCC unroll 8
      for (int i = 0; i < kKeys; ++i) sum[i] = Dot::MulAdd(sum[i], Dot::Broadcast(key[i] + d), q);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) V::Store(score + i * kHeads, sum[i]);
  }
};

}  // namespace
}  // namespace ms_nsa
