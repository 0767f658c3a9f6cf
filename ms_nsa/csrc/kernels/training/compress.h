// SPDX-License-Identifier: Apache-2.0
// Compression of packed sequences: one row per window.
#pragma once

#include "../fetch_lines.h"
#include "../threads.h"
#include "../window_sum.h"

namespace ms_nsa {
namespace {

// The number of vectors processed at once, as a type.
template <int kCount>
struct Count {
  static constexpr int kValue = kCount;
};

// Adds rows to the sums of windows that hold them: sum[w] += weight[w][r] * row r. A row is converted once
// for all of them.
template <class V, class E, int kWindows>
inline void AddRows(const typename E::Storage* row, int64_t stride, int64_t rows, int64_t width,
                    const float* const* weight, float* const* sum) {
  using S = typename E::Storage;
  constexpr int kVectors = 4;
  const auto add = [&](int64_t column, auto vectors, auto load) {
    constexpr int kCount = decltype(vectors)::kValue;
    typename V::Reg acc[kWindows][kCount];
#pragma GCC unroll 2
    for (int w = 0; w < kWindows; ++w) {
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) acc[w][v] = V::Load(sum[w] + column + v * V::kLanes);
    }
    const S* from = row + column;
    for (int64_t r = 0; r < rows; ++r, from += stride) {
      FetchToRead<kCount * V::kLanes * sizeof(S)>(from + rows * stride);
      typename V::Reg x[kCount];
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) x[v] = load(from + v * V::kLanes);
#pragma GCC unroll 2
      for (int w = 0; w < kWindows; ++w) {
        const auto by = V::Set1(weight[w][r]);
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) acc[w][v] = V::Fma(by, x[v], acc[w][v]);
      }
    }
#pragma GCC unroll 2
    for (int w = 0; w < kWindows; ++w) {
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) V::Store(sum[w] + column + v * V::kLanes, acc[w][v]);
    }
  };
  const auto whole = [](const S* from) { return E::Load(from); };
  int64_t i = 0;
  for (; i + kVectors * V::kLanes <= width; i += kVectors * V::kLanes) add(i, Count<kVectors>(), whole);
  for (; i + V::kLanes <= width; i += V::kLanes) add(i, Count<1>(), whole);
  if (i == width) return;
  add(i, Count<1>(), [left = width - i](const S* from) { return LoadUpTo<V, E>(from, left); });
}

// Processes the rows once, compress_stride rows at a time, and keeps the sums of all windows that contain
// them.
template <class V, class E>
class Compressor {
 public:
  using S = typename E::Storage;

  Compressor(Arena& arena, const CompressParams& p, const WindowList& windows)
      : p_(p),
        in_(p.in),
        windows_(windows),
        sharing_(CeilDiv(in_.compress_block_size, in_.compress_stride)),
        width_(RoundUp(in_.d, V::kLanes)),
        weight_(arena.Take<float>(in_.n2 * in_.compress_block_size)),
        sums_(arena.Take<float>(sharing_ * in_.n2 * width_)) {}

  void Start() const { WeightsByHead<V, E>(in_.weight, in_.compress_block_size, in_.n2, weight_); }

  void Run(const WindowList::Task& task) const {
    for (int64_t step = task.first; step < task.end + sharing_ - 1 && task.first < task.end; ++step) {
      if (step < task.end) std::memset(Sums(step, 0), 0, in_.n2 * width_ * sizeof(float));
      const int64_t oldest = step - sharing_ + 1;
      AddStep(task, step, Max(task.first, oldest), Min(step + 1, task.end));
      if (oldest >= task.first) Finish(task.sequence, oldest);
    }
  }

 private:
  float* Sums(int64_t window, int64_t head) const {
    return sums_ + (window % sharing_ * in_.n2 + head) * width_;
  }

  // Rows [step * compress_stride, + compress_stride) to windows [first, end), two by two.
  void AddStep(const WindowList::Task& task, int64_t step, int64_t first, int64_t end) const {
    const int64_t stride = in_.n2 * in_.d;
    const int64_t row = Before(in_.actual_seq_len, task.sequence) + step * in_.compress_stride;
    const S* rows = static_cast<const S*>(in_.input) + row * stride;
    for (int64_t h = 0; h < in_.n2; ++h) {
      for (int64_t window = first; window < end; window += 2) {
        AddPair(rows + h * in_.d, h, step, window, Min(2, end - window));
      }
    }
  }

  void AddPair(const S* rows, int64_t head, int64_t step, int64_t window, int64_t windows) const {
    const int64_t stride = in_.n2 * in_.d, size = in_.compress_block_size;
    const int64_t at = (step - window) * in_.compress_stride, count = Min(in_.compress_stride, size - at);
    const float* weight = weight_ + head * size + at;
    float* sum = Sums(window, head);
    if (windows == 1) return AddRows<V, E, 1>(rows, stride, count, in_.d, &weight, &sum);
    const float* weights[2] = {weight, weight - in_.compress_stride};
    float* const sums[2] = {sum, Sums(window + 1, head)};
    AddRows<V, E, 2>(rows, stride, count, in_.d, weights, sums);
    if (count == in_.compress_stride) return;
    weights[1] += count;
    AddRows<V, E, 1>(rows + count * stride, stride, in_.compress_stride - count, in_.d, weights + 1,
                     sums + 1);
  }

  void Finish(int64_t sequence, int64_t window) const {
    S* out = static_cast<S*>(p_.output) + (windows_.first(sequence) + window) * in_.n2 * in_.d;
    for (int64_t h = 0; h < in_.n2; ++h) StoreRow<V, E>(out + h * in_.d, Sums(window, h), in_.d);
  }

  const CompressParams& p_;
  const CompressInputs& in_;
  const WindowList& windows_;
  const int64_t sharing_, width_;  // windows that hold a row; floats of a sum
  float* weight_;
  float* sums_;  // [window % sharing][n2][width]
};

template <class V, class E>
void Compress(const CompressParams& p) {
  const WindowList windows(p.in);
  const int64_t row_bytes = p.in.n2 * p.in.d * sizeof(typename E::Storage);
  std::memset(static_cast<char*>(p.output) + windows.size() * row_bytes, 0,
              (p.rows - windows.size()) * row_bytes);
  const Team team(windows.tasks(), p.in.max_threads);
  Arena sizing;
  Compressor<V, E>(sizing, p, windows);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const Compressor<V, E> compressor(arena, p, windows);
    compressor.Start();
    for (int64_t i; (i = TakeTask(&next_task)) < windows.tasks();) compressor.Run(windows.TaskAt(i));
  });
}

}  // namespace
}  // namespace ms_nsa
