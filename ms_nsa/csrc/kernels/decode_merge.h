// Results of the parts of split items, and their merge in the order of the parts.
#pragma once

#include <cmath>

#include "decode_tasks.h"
#include "element.h"
#include "exp.h"

namespace ms_nsa {
namespace {

// What one task found for the query heads of its kv head.
struct HeadResults {
  float* out;  // [head][width], not divided by the sum
  float* max;  // of the scaled scores
  float* sum;  // of exp(score - max)
};

// One record of HeadResults for each task; no memory where items have one part.
class PartialResults {
 public:
  PartialResults(const DecodeTasks& tasks, int64_t group, int64_t width)
      : group_(group), width_(width), memory_(tasks.parts() > 1 ? tasks.size() * group * (width + 2) : 0) {}

  HeadResults At(int64_t task) const {
    float* record = memory_.get() + task * group_ * (width_ + 2);
    return {record, record + group_ * width_, record + group_ * (width_ + 1)};
  }

 private:
  const int64_t group_, width_;
  const Buffer<float> memory_;
};

// Adds the results of one head from the parts of an item into the first part's; returns the sum.
template <class V>
inline float MergeParts(const PartialResults& partial, int64_t first_task, int64_t parts, int64_t head,
                        int64_t width) {
  float max = kNegativeInfinity;
  for (int64_t i = 0; i < parts; ++i) max = std::fmax(max, partial.At(first_task + i).max[head]);
  float* out = partial.At(first_task).out + head * width;
  float total = 0.0f;
  for (int64_t i = 0; i < parts; ++i) {
    const HeadResults part = partial.At(first_task + i);
    if (part.sum[head] == 0.0f) continue;  // saw nothing: its results are zeros
    const float weight = std::exp(part.max[head] - max);
    total += weight * part.sum[head];
    const float* from = part.out + head * width;
    for (int64_t c = 0; c < width; c += V::kLanes) {
      const auto term = V::Mul(V::Set1(weight), V::Load(from + c));
      V::Store(out + c, i == 0 ? term : V::Add(V::Load(out + c), term));
    }
  }
  return total;
}

}  // namespace
}  // namespace ms_nsa
