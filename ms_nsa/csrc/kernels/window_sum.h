// SPDX-License-Identifier: Apache-2.0
// The windows of a packed batch, and the sum of their rows. All operators use this sum, so that a compressed
// row has the same bits in training, prefill and decode.
#pragma once

#include "../simd/element.h"
#include "buffer.h"
#include "visibility.h"

namespace ms_nsa {
namespace {

// The windows of all sequences, and tasks of adjacent windows, which share rows.
class WindowList {
 public:
  // Windows of a task, all of one sequence. The last task of a sequence, even of one without windows, has the
  // remaining rows.
  struct Task {
    int64_t sequence, first, end;
    bool last;
  };

  explicit WindowList(const CompressInputs& in) : in_(in), start_(in.batch + 1), task_(in.batch + 1) {
    start_[0] = task_[0] = 0;
    for (int64_t b = 0; b < in.batch; ++b) {
      const int64_t rows = in.actual_seq_len[b] - Before(in.actual_seq_len, b);
      const int64_t windows = WindowCount(rows, in.compress_block_size, in.compress_stride);
      start_[b + 1] = start_[b] + windows;
      task_[b + 1] = task_[b] + Max(1, CeilDiv(windows, kTaskWindows));
    }
  }

  int64_t size() const { return start_[in_.batch]; }
  int64_t tasks() const { return task_[in_.batch]; }
  int64_t first(int64_t sequence) const { return start_[sequence]; }
  int64_t count(int64_t sequence) const { return start_[sequence + 1] - start_[sequence]; }

  Task TaskAt(int64_t i) const {
    const int64_t b = EntryOf(task_.get(), in_.batch, i), first = (i - task_[b]) * kTaskWindows;
    const int64_t end = Min(first + kTaskWindows, count(b));
    return {b, first, end, end == count(b)};
  }

 private:
  static constexpr int64_t kTaskWindows = 32;

  const CompressInputs& in_;
  Buffer<int64_t> start_, task_;  // the first of each sequence
};

// weight [compress_block_size, n2] as [n2][compress_block_size] in fp32; nullptr: the mean's.
template <class V, class E>
inline void WeightsByHead(const void* weight, int64_t size, int64_t n2, float* to) {
  const auto* from = static_cast<const typename E::Storage*>(weight);
  for (int64_t h = 0; h < n2; ++h) {
    for (int64_t r = 0; r < size; ++r, ++to) {
      if (from == nullptr) {
        *to = 1.0f / static_cast<float>(size);
      } else {
        float lane[V::kLanes];
        V::Store(lane, LoadUpTo<V, E>(from + r * n2 + h, 1));
        *to = lane[0];
      }
    }
  }
}

// The sum of SumWindow for columns from i on, kVectors vectors at a time; returns the first column that is
// left.
template <class V, class E, int kVectors>
inline int64_t SumVectors(const typename E::Storage* const* row, int64_t offset, const float* weight,
                          int64_t size, int64_t width, int64_t i, typename E::Storage* out) {
  for (; i + kVectors * V::kLanes <= width; i += kVectors * V::kLanes) {
    typename V::Reg sum[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sum[v] = V::Zero();
    for (int64_t r = 0; r < size; ++r) {
      const typename E::Storage* from = row[r] + offset + i;
      const auto w = V::Set1(weight[r]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[v] = V::Fma(w, E::Load(from + v * V::kLanes), sum[v]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) E::Store(out + i + v * V::kLanes, V::Add(sum[v], V::Zero()));
  }
  return i;
}

// out = sum of weight[r] * (row[r] + offset)[.] over `size` rows, ascending, in fp32, rounded once; zeros are
// +0, as StoreRow's.
template <class V, class E>
inline void SumWindow(const typename E::Storage* const* row, int64_t offset, const float* weight,
                      int64_t size, int64_t width, typename E::Storage* out) {
  // As many sums as the product keeps in registers: 15 % faster than 4, since every row is read in longer
  // runs.
  int64_t i = SumVectors<V, E, V::kTileRows * V::kTileVectors>(row, offset, weight, size, width, 0, out);
  i = SumVectors<V, E, 4>(row, offset, weight, size, width, i, out);
  i = SumVectors<V, E, 1>(row, offset, weight, size, width, i, out);
  if (i == width) return;
  auto sum = V::Zero();
  for (int64_t r = 0; r < size; ++r) {
    sum = V::Fma(V::Set1(weight[r]), LoadUpTo<V, E>(row[r] + offset + i, width - i), sum);
  }
  StoreUpTo<V, E>(out + i, V::Add(sum, V::Zero()), width - i);
}

}  // namespace
}  // namespace ms_nsa
