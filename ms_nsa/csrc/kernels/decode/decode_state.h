// SPDX-License-Identifier: Apache-2.0
// The intermediate results of a task for the query heads of its kv head.
#pragma once

#include "../../simd/exp.h"
#include "../pack.h"

namespace ms_nsa {
namespace {

// Running softmax of kHeads heads; a lane's head is lane % kHeads.
template <class Dot>
struct HeadStatistics {
  typename Dot::Reg max;  // equal in all lanes of a head
  typename Dot::Reg sum;  // each lane of its own keys
};

template <class Dot, int kHeads>
class DecodeState {
 public:
  using V = typename Dot::Vec;

  DecodeState(Arena& arena, int64_t heads, int64_t width)
      : heads_(heads),
        groups_(CeilDiv(heads, kHeads)),
        width_(RowStride<Dot>(width)),
        out_(arena.Take<float>(groups_ * kHeads * width_)),
        statistics_(arena.Take<HeadStatistics<Dot>>(groups_)) {}

  int64_t heads() const { return heads_; }
  int64_t groups() const { return groups_; }  // of kHeads heads; the last may lack some
  int64_t HeadsOf(int64_t group) const { return Min(kHeads, heads_ - group * kHeads); }
  int64_t width() const { return width_; }  // of a row of out: whole vectors

  void Reset() const {
    for (int64_t i = 0; i < groups_; ++i) statistics_[i] = {V::Set1(kNegativeInfinity), V::Zero()};
    std::memset(out_, 0, groups_ * kHeads * width_ * sizeof(float));
  }

  HeadStatistics<Dot>& statistics(int64_t group) const { return statistics_[group]; }
  float* out(int64_t head) const { return out_ + head * width_; }  // not yet divided by the sum

  float Max(int64_t head) const {
    float lane[V::kLanes];
    V::Store(lane, statistics_[head / kHeads].max);
    return lane[head % kHeads];
  }

  float Sum(int64_t head) const {
    float lane[V::kLanes], sum = 0.0f;
    V::Store(lane, statistics_[head / kHeads].sum);
    for (int64_t i = head % kHeads; i < V::kLanes; i += kHeads) sum += lane[i];
    return sum;
  }

 private:
  const int64_t heads_, groups_, width_;
  float* out_;
  HeadStatistics<Dot>* statistics_;
};

}  // namespace
}  // namespace ms_nsa
