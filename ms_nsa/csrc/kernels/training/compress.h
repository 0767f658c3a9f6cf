// SPDX-License-Identifier: Apache-2.0
// Compression of packed sequences: one row for every window.
#pragma once

#include "../fetch_lines.h"
#include "../threads.h"
#include "../window_sum.h"

namespace ms_nsa {
namespace {

// Windows of one task. Neighbours share rows, which then come from the caches.
constexpr int64_t kTaskWindows = 32;

template <class V, class E>
class Compressor {
 public:
  using S = typename E::Storage;

  Compressor(Arena& arena, const CompressParams& p)
      : p_(p),
        weight_(arena.Take<float>(p.in.n2 * p.in.compress_block_size)),
        row_(arena.Take<const S*>(p.in.compress_block_size)) {}

  void Start() const { WeightsByHead<V, E>(p_.in.weight, p_.in.compress_block_size, p_.in.n2, weight_); }

  void Run(const WindowList& windows, int64_t first, int64_t end) const {
    const CompressInputs& in = p_.in;
    const int64_t size = in.compress_block_size, row_size = in.n2 * in.d;
    const S* input = static_cast<const S*>(in.input);
    for (int64_t i = first; i < end; ++i) {
      const int64_t start = windows.At(i).first_row;
      for (int64_t r = 0; r < size; ++r) row_[r] = input + (start + r) * row_size;
      S* out = static_cast<S*>(p_.output) + i * row_size;
      const int64_t ahead = Min(in.compress_stride, in.t2 - (start + size));
      for (int64_t h = 0; h < in.n2; ++h) {
        // The rows that the next window adds.
        for (int64_t r = ahead * h / in.n2; r < ahead * (h + 1) / in.n2; ++r)
          FetchLines(input + (start + size + r) * row_size, row_size * sizeof(S));
        SumWindow<V, E>(row_, h * in.d, weight_ + h * size, size, in.d, out + h * in.d);
      }
    }
  }

 private:
  const CompressParams& p_;
  float* weight_;
  const S** row_;
};

template <class V, class E>
void Compress(const CompressParams& p) {
  const WindowList windows(p.in);
  const int64_t row_bytes = p.in.n2 * p.in.d * sizeof(typename E::Storage),
                tasks = CeilDiv(windows.size(), kTaskWindows);
  std::memset(static_cast<char*>(p.output) + windows.size() * row_bytes, 0,
              (p.rows - windows.size()) * row_bytes);
  const Team team(tasks, p.in.max_threads);
  Arena sizing;
  Compressor<V, E>(sizing, p);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const Compressor<V, E> compressor(arena, p);
    compressor.Start();
    for (int64_t i; (i = TakeTask(&next_task)) < tasks;)
      compressor.Run(windows, i * kTaskWindows, Min((i + 1) * kTaskWindows, windows.size()));
  });
}

}  // namespace
}  // namespace ms_nsa
