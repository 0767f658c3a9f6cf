// SPDX-License-Identifier: Apache-2.0
// Gradient of compression. Every raw row gathers from the windows that hold it, so nothing is added twice;
// the weight's gradient is summed per task in fp32 and over the tasks, in their order, in fp64.
#pragma once

#include "../fetch_lines.h"
#include "../threads.h"
#include "../window_sum.h"

namespace ms_nsa {
namespace {

// Columns of up to two windows' gradients meet rows that all of the windows hold: the rows' gradients grow,
// and so do the weights'.
template <class V, class E, int kWindows>
struct GradColumns {
  using S = typename E::Storage;

  const S* grad[kWindows];        // of each window
  const float* weight[kWindows];  // of the first row
  float* weight_sum[kWindows];    // lanes of the first row; nullptr: not wanted
  const S* input;                 // the rows
  S* input_grad;
  int64_t stride, rows;
  float* carry;      // what other windows have added, a vector after the other
  bool first, last;  // of the windows that hold these rows

  template <int kVectors, class Load, class Store>
  void Run(Load load, Store store) const {
    typename V::Reg g[kWindows][kVectors];
#pragma GCC unroll 2
    for (int w = 0; w < kWindows; ++w) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) g[w][v] = load(grad[w] + v * V::kLanes);
    }
    for (int64_t r = 0; r < rows; ++r) {
      FetchToRead<kVectors * V::kLanes * sizeof(S)>(input + (r + rows) * stride);
      FetchToWrite<kVectors * V::kLanes * sizeof(S)>(input_grad + (r + rows) * stride);
      if (weight_sum[0] != nullptr) AddWeightGrad<kVectors>(g, r, load);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* sums = carry + (r * kVectors + v) * V::kLanes;
        auto sum = first ? V::Zero() : V::Load(sums);
#pragma GCC unroll 2
        for (int w = 0; w < kWindows; ++w) sum = V::Fma(V::Set1(weight[w][r]), g[w][v], sum);
        last ? store(input_grad + r * stride + v * V::kLanes, sum) : V::Store(sums, sum);
      }
    }
  }

 private:
  template <int kVectors, class Load>
  void AddWeightGrad(const typename V::Reg (&g)[kWindows][kVectors], int64_t r, Load load) const {
    typename V::Reg sum[kWindows];
#pragma GCC unroll 2
    for (int w = 0; w < kWindows; ++w) sum[w] = V::Load(weight_sum[w] + r * V::kLanes);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const auto x = load(input + r * stride + v * V::kLanes);
#pragma GCC unroll 2
      for (int w = 0; w < kWindows; ++w) sum[w] = V::Fma(x, g[w][v], sum[w]);
    }
#pragma GCC unroll 2
    for (int w = 0; w < kWindows; ++w) V::Store(weight_sum[w] + r * V::kLanes, sum[w]);
  }
};

template <class V, class E>
class CompressGradWorker {
 public:
  using S = typename E::Storage;

  CompressGradWorker(Arena& arena, const CompressGradParams& p, const WindowList& windows)
      : p_(p),
        in_(p.in),
        windows_(windows),
        row_size_(in_.n2 * in_.d),
        weight_(arena.Take<float>(in_.n2 * in_.compress_block_size)),
        sums_(arena.Take<float>(in_.n2 * in_.compress_block_size * V::kLanes)),
        carry_(arena.Take<float>(in_.compress_stride * kVectors * V::kLanes)) {}

  void Start() const { WeightsByHead<V, E>(in_.weight, in_.compress_block_size, in_.n2, weight_); }

  // The raw rows from the first window's start to the start of window `end`, or the rest of the sequence,
  // with all windows that hold them.
  void Run(const WindowList::Task& task, float* weight_sums) const {
    const int64_t begin = Before(in_.actual_seq_len, task.sequence), size = in_.compress_block_size;
    const int64_t rows = in_.actual_seq_len[task.sequence] - begin, stride = in_.compress_stride;
    const int64_t stop = task.last ? rows : task.end * stride;
    std::memset(sums_, 0, in_.n2 * size * V::kLanes * sizeof(float));
    for (int64_t row = task.first * stride, end; row < stop; row = end) {
      const int64_t low = row < size ? 0 : (row - size) / stride + 1;
      const int64_t high = Min(row / stride + 1, windows_.count(task.sequence));
      end = Min(stop, (row / stride + 1) * stride);
      if (low < high) end = Min(end, low * stride + size);
      AddStep({task.sequence, begin, row, end - row, low, high});
    }
    if (p_.weight_grad == nullptr) return;
    for (int64_t i = 0; i < in_.n2 * size; ++i) weight_sums[i] = V::ReduceAdd(V::Load(sums_ + i * V::kLanes));
  }

 private:
  static constexpr int kVectors = 4;

  // Rows of a sequence that the same windows [low, high) hold.
  struct Step {
    int64_t sequence, begin, row, rows, low, high;
  };

  void AddStep(const Step& step) const {
    const int64_t first = (step.begin + step.row) * row_size_, count = step.rows * row_size_;
    if (step.low >= step.high) {
      std::memset(static_cast<S*>(p_.input_grad) + first, 0, count * sizeof(S));
      return;
    }
    for (int64_t h = 0; h < in_.n2; ++h) AddHead(step, h);
  }

  void AddHead(const Step& step, int64_t head) const {
    int64_t i = head * in_.d;
    const int64_t end = i + in_.d;
    const auto load = [](const S* from) { return E::Load(from); };
    const auto store = [](S* to, typename V::Reg x) { E::Store(to, x); };
    for (; i + kVectors * V::kLanes <= end; i += kVectors * V::kLanes)
      AddColumns<kVectors>(step, head, i, load, store);
    for (; i + V::kLanes <= end; i += V::kLanes) AddColumns<1>(step, head, i, load, store);
    const int64_t lanes = end - i;
    if (lanes == 0) return;
    AddColumns<1>(
        step, head, i, [=](const S* from) { return LoadUpTo<V, E>(from, lanes); },
        [=](S* to, typename V::Reg x) { StoreUpTo<V, E>(to, x, lanes); });
  }

  template <int kCount, class Load, class Store>
  void AddColumns(const Step& step, int64_t head, int64_t column, Load load, Store store) const {
    int64_t window = step.low;
    for (; window + 1 < step.high; window += 2)
      Columns<2>(step, head, column, window).template Run<kCount>(load, store);
    if (window < step.high) Columns<1>(step, head, column, window).template Run<kCount>(load, store);
  }

  template <int kWindows>
  GradColumns<V, E, kWindows> Columns(const Step& step, int64_t head, int64_t column, int64_t window) const {
    GradColumns<V, E, kWindows> columns;
    const int64_t first = (step.begin + step.row) * row_size_ + column;
    for (int w = 0; w < kWindows; ++w) {
      const int64_t at = head * in_.compress_block_size + step.row - (window + w) * in_.compress_stride;
      columns.grad[w] =
          static_cast<const S*>(p_.grad) + (windows_.first(step.sequence) + window + w) * row_size_ + column;
      columns.weight[w] = weight_ + at;
      columns.weight_sum[w] = p_.weight_grad == nullptr ? nullptr : sums_ + at * V::kLanes;
    }
    columns.input = static_cast<const S*>(in_.input) + first;
    columns.input_grad = static_cast<S*>(p_.input_grad) + first;
    columns.stride = row_size_;
    columns.rows = step.rows;
    columns.carry = carry_;
    columns.first = window == step.low;
    columns.last = window + kWindows == step.high;
    return columns;
  }

  const CompressGradParams& p_;
  const CompressInputs& in_;
  const WindowList& windows_;
  const int64_t row_size_;
  float* weight_;
  float* sums_;   // [n2][compress_block_size][lanes]
  float* carry_;  // [row][vector]
};

// The tasks' sums in fp64; sums are [task][n2][compress_block_size].
template <class V, class E>
inline void StoreWeightGrad(const CompressGradParams& p, const float* sums, int64_t tasks) {
  const FloatEnvironment environment;
  const int64_t size = p.in.compress_block_size, n2 = p.in.n2;
  auto* to = static_cast<typename E::Storage*>(p.weight_grad);
  for (int64_t r = 0; r < size; ++r) {
    for (int64_t h = 0; h < n2; ++h) {
      double sum = 0;
      for (int64_t task = 0; task < tasks; ++task) sum += sums[(task * n2 + h) * size + r];
      typename E::Storage stored[V::kLanes];
      E::Store(stored, V::Set1(static_cast<float>(sum)));
      to[r * n2 + h] = stored[0];
    }
  }
}

template <class V, class E>
void CompressGrad(const CompressGradParams& p) {
  using Worker = CompressGradWorker<V, E>;
  const WindowList windows(p.in);
  const Team team(windows.tasks(), p.in.max_threads);
  Arena sizing;
  Worker(sizing, p, windows);
  const int64_t size = sizing.used(), weights = p.in.n2 * p.in.compress_block_size;
  const Buffer<char> memory(team.members() * size);
  const Buffer<float> sums(p.weight_grad == nullptr ? 0 : windows.tasks() * weights);
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const Worker worker(arena, p, windows);
    worker.Start();
    for (int64_t i; (i = TakeTask(&next_task)) < windows.tasks();)
      worker.Run(windows.TaskAt(i), sums.get() + i * weights);
  });
  if (p.weight_grad != nullptr) StoreWeightGrad<V, E>(p, sums.get(), windows.tasks());
}

}  // namespace
}  // namespace ms_nsa
