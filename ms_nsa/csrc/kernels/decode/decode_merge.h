// SPDX-License-Identifier: Apache-2.0
// Merge of the results of an item's parts, one after another.
#pragma once

#include "../../simd/exp.h"
#include "decode_tasks.h"

namespace ms_nsa {
namespace {

// Results of some of the rows for the query heads of one kv head.
struct HeadResults {
  float* out;  // [head][width], not divided by the sum
  float* max;  // of the scaled scores
  float* sum;  // of exp(score - max); 0: no row was seen
};

// HeadResults of several tasks.
class ResultRecords {
 public:
  ResultRecords(float* memory, int64_t group, int64_t width)
      : memory_(memory), group_(group), width_(width) {}

  static int64_t Size(int64_t records, int64_t group, int64_t width) { return records * group * (width + 2); }

  HeadResults At(int64_t i) const {
    float* record = memory_ + Size(i, group_, width_);
    return {record, record + group_ * width_, record + group_ * (width_ + 1)};
  }

 private:
  float* const memory_;
  const int64_t group_, width_;
};

inline void Clear(const HeadResults& results, int64_t group) {
  for (int64_t h = 0; h < group; ++h) results.sum[h] = 0.0f;
}

// Adds one head's results of the next part, which the last three arguments are.
template <class V, bool kPrecise>
inline void MergeHead(const HeadResults& to, int64_t head, int64_t width, const float* out, float max,
                      float sum) {
  float* merged = to.out + head * width;
  if (sum == 0.0f && to.sum[head] != 0.0f) return;
  if (to.sum[head] == 0.0f) {
    for (int64_t c = 0; c < width; c += V::kLanes) V::Store(merged + c, V::Load(out + c));
    to.max[head] = max, to.sum[head] = sum;
    return;
  }
  const float top = to.max[head] < max ? max : to.max[head];
  const auto old_weight = Exp<V, kPrecise>(V::Set1(to.max[head] - top));
  const auto new_weight = Exp<V, kPrecise>(V::Set1(max - top));
  for (int64_t c = 0; c < width; c += V::kLanes) {
    const auto old = V::Mul(V::Load(merged + c), old_weight);
    V::Store(merged + c, V::Fma(V::Load(out + c), new_weight, old));
  }
  float lane[V::kLanes];
  V::Store(lane, V::Fma(V::Set1(sum), new_weight, V::Mul(V::Set1(to.sum[head]), old_weight)));
  to.max[head] = top, to.sum[head] = lane[0];
}

}  // namespace
}  // namespace ms_nsa
