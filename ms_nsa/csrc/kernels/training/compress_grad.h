// SPDX-License-Identifier: Apache-2.0
// Gradient of compression. Every raw row gathers from the windows that hold it, so nothing is added twice;
// the weight's gradient is summed per task in fp32 and over the tasks, in their order, in fp64.
#pragma once

#include "../threads.h"
#include "../window_sum.h"
#include "compress.h"

namespace ms_nsa {
namespace {

template <class V, class E>
class CompressGradWorker {
 public:
  using S = typename E::Storage;

  CompressGradWorker(Arena& arena, const CompressGradParams& p, const WindowList& windows)
      : p_(p),
        in_(p.in),
        windows_(windows),
        weight_(arena.Take<float>(in_.n2 * in_.compress_block_size)),
        sums_(arena.Take<float>(in_.n2 * in_.compress_block_size * V::kLanes)),
        row_(arena.Take<const S*>(MostWindows())),
        row_weight_(arena.Take<float>(MostWindows())) {}

  void Start() const { WeightsByHead<V, E>(in_.weight, in_.compress_block_size, in_.n2, weight_); }

  // Windows [first, end) of a sequence, and the raw rows from the first one's start to the start of window
  // `end`; the last task of a sequence has the rest of its rows.
  void Run(int64_t sequence, int64_t first, int64_t end, float* weight_sums) const {
    const int64_t begin = Before(in_.actual_seq_len, sequence), rows = in_.actual_seq_len[sequence] - begin;
    const int64_t stop = end == windows_.count(sequence) ? rows : end * in_.compress_stride;
    for (int64_t row = first * in_.compress_stride; row < stop; ++row) GatherRow(sequence, begin, row);
    if (p_.weight_grad == nullptr) return;
    std::memset(sums_, 0, in_.n2 * in_.compress_block_size * V::kLanes * sizeof(float));
    for (int64_t window = first; window < end; ++window) AddWeightGrad(sequence, begin, window);
    for (int64_t i = 0; i < in_.n2 * in_.compress_block_size; ++i)
      weight_sums[i] = V::ReduceAdd(V::Load(sums_ + i * V::kLanes));
  }

 private:
  int64_t MostWindows() const { return CeilDiv(in_.compress_block_size, in_.compress_stride); }

  const S* Grad(int64_t sequence, int64_t window) const {
    return static_cast<const S*>(p_.grad) + (windows_.first(sequence) + window) * in_.n2 * in_.d;
  }

  void GatherRow(int64_t sequence, int64_t begin, int64_t row) const {
    const int64_t size = in_.compress_block_size, stride = in_.compress_stride;
    const int64_t low = row < size ? 0 : (row - size) / stride + 1;
    const int64_t high = Min(row / stride + 1, windows_.count(sequence));
    S* out = static_cast<S*>(p_.input_grad) + (begin + row) * in_.n2 * in_.d;
    for (int64_t window = low; window < high; ++window) row_[window - low] = Grad(sequence, window);
    for (int64_t h = 0; h < in_.n2; ++h) {
      for (int64_t window = low; window < high; ++window)
        row_weight_[window - low] = weight_[h * size + row - window * stride];
      SumWindow<V, E>(row_, h * in_.d, row_weight_, Max(0, high - low), in_.d, out + h * in_.d);
    }
  }

  void AddWeightGrad(int64_t sequence, int64_t begin, int64_t window) const {
    const int64_t size = in_.compress_block_size;
    const S* grad = Grad(sequence, window);
    const S* input =
        static_cast<const S*>(in_.input) + (begin + window * in_.compress_stride) * in_.n2 * in_.d;
    for (int64_t r = 0; r < size; ++r, input += in_.n2 * in_.d) {
      for (int64_t h = 0; h < in_.n2; ++h) {
        float* sum = sums_ + (h * size + r) * V::kLanes;
        V::Store(sum, AddProducts(V::Load(sum), input + h * in_.d, grad + h * in_.d));
      }
    }
  }

  typename V::Reg AddProducts(typename V::Reg sum, const S* a, const S* b) const {
    auto second = V::Zero();
    int64_t i = 0;
    for (; i + 2 * V::kLanes <= in_.d; i += 2 * V::kLanes) {
      sum = V::Fma(E::Load(a + i), E::Load(b + i), sum);
      second = V::Fma(E::Load(a + i + V::kLanes), E::Load(b + i + V::kLanes), second);
    }
    for (; i < in_.d; i += V::kLanes) {
      const int64_t lanes = Min(V::kLanes, in_.d - i);
      const Tail<S, V::kLanes> x(a + i, lanes), y(b + i, lanes);
      sum = V::Fma(E::Load(x.element), E::Load(y.element), sum);
    }
    return V::Add(sum, second);
  }

  const CompressGradParams& p_;
  const CompressInputs& in_;
  const WindowList& windows_;
  float* weight_;
  float* sums_;  // [n2][compress_block_size][lanes]
  const S** row_;
  float* row_weight_;
};

// Tasks of kTaskWindows windows of one sequence; a sequence without a window is one as well, for its rows.
class CompressGradTasks {
 public:
  CompressGradTasks(const CompressInputs& in, const WindowList& windows) : in_(in), start_(in.batch + 1) {
    start_[0] = 0;
    for (int64_t b = 0; b < in.batch; ++b)
      start_[b + 1] = start_[b] + Max(1, CeilDiv(windows.count(b), kTaskWindows));
  }

  int64_t size() const { return start_[in_.batch]; }

  // Calls f(sequence, its task) for task i.
  template <class F>
  void At(int64_t i, F f) const {
    int64_t low = 0, high = in_.batch;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (start_[middle] <= i ? low : high) = middle;
    }
    f(low, i - start_[low]);
  }

 private:
  const CompressInputs& in_;
  Buffer<int64_t> start_;
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
  const CompressGradTasks tasks(p.in, windows);
  const Team team(tasks.size(), p.in.max_threads);
  Arena sizing;
  Worker(sizing, p, windows);
  const int64_t size = sizing.used(), weights = p.in.n2 * p.in.compress_block_size;
  const Buffer<char> memory(team.members() * size);
  const Buffer<float> sums(p.weight_grad == nullptr ? 0 : tasks.size() * weights);
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const Worker worker(arena, p, windows);
    worker.Start();
    for (int64_t i; (i = TakeTask(&next_task)) < tasks.size();) {
      tasks.At(i, [&](int64_t sequence, int64_t task) {
        const int64_t end = Min((task + 1) * kTaskWindows, windows.count(sequence));
        worker.Run(sequence, task * kTaskWindows, end, sums.get() + i * weights);
      });
    }
  });
  if (p.weight_grad != nullptr) StoreWeightGrad<V, E>(p, sums.get(), tasks.size());
}

}  // namespace
}  // namespace ms_nsa
