// SPDX-License-Identifier: Apache-2.0
// Compression in decode: the windows that end in the new rows of a sequence, read through its pages.
#pragma once

#include "../threads.h"
#include "../window_sum.h"

namespace ms_nsa {
namespace {

inline int64_t WindowsOf(const PagedCompressParams& p, int64_t rows) {
  return WindowCount(rows, p.compress_block_size, p.compress_stride);
}

template <class V, class E>
class PagedCompressor {
 public:
  using S = typename E::Storage;

  PagedCompressor(Arena& arena, const PagedCompressParams& p, const float* weight)
      : p_(p), weight_(weight), row_(arena.Take<const S*>(p.compress_block_size)) {}

  // The window of a slot of a sequence.
  void Run(int64_t at) const {
    const int64_t sequence = at / p_.slots, i = at % p_.slots;
    S* out = static_cast<S*>(p_.rows) + at * p_.n2 * p_.d;
    const int64_t window = WindowsOf(p_, p_.kv_len[sequence] - p_.q_len[sequence]) + i;
    const int32_t slot = window < WindowsOf(p_, p_.kv_len[sequence]) ? p_.slot_mapping[at] : -1;
    p_.written_slots[at] = slot < 0 ? -1 : slot;
    if (slot < 0) {
      std::memset(out, 0, p_.n2 * p_.d * sizeof(S));
    } else {
      Compress(sequence, window * p_.compress_stride, out);
    }
  }

 private:
  void Compress(int64_t sequence, int64_t first_row, S* out) const {
    const int64_t page = p_.page_block_size, row_size = p_.heads_first ? p_.d : p_.n2 * p_.d;
    const int64_t head_size = p_.heads_first ? page * p_.d : p_.d;
    for (int64_t r = 0; r < p_.compress_block_size; ++r) {
      const int64_t row = first_row + r, id = p_.block_table[sequence * p_.max_blocks + row / page];
      row_[r] = static_cast<const S*>(p_.input) + id * page * p_.n2 * p_.d + row % page * row_size;
    }
    for (int64_t h = 0; h < p_.n2; ++h) {
      SumWindow<V, E>(row_, h * head_size, weight_ + h * p_.compress_block_size, p_.compress_block_size, p_.d,
                      out + h * p_.d);
    }
  }

  const PagedCompressParams& p_;
  const float* weight_;
  const S** row_;
};

template <class V, class E>
void PagedCompress(const PagedCompressParams& p) {
  // With less work another thread does not pay off, not even Python's, which waits: 4 windows take 5 us
  // longer.
  constexpr int64_t kThreadBytes = 1 << 20;
  int64_t windows = 0;  // that end in new rows
  for (int64_t b = 0; b < p.batch; ++b)
    windows += WindowsOf(p, p.kv_len[b]) - WindowsOf(p, p.kv_len[b] - p.q_len[b]);
  const int64_t bytes = windows * p.compress_block_size * p.n2 * p.d * sizeof(typename E::Storage);
  const Team team(Min(windows, CeilDiv(bytes, kThreadBytes)), p.max_threads);
  Arena sizing;
  PagedCompressor<V, E>(sizing, p, nullptr);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  const Buffer<float> weight(p.n2 * p.compress_block_size);
  WeightsByHead<V, E>(p.weight, p.compress_block_size, p.n2, weight.get());
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const PagedCompressor<V, E> compressor(arena, p, weight.get());
    for (int64_t i; (i = TakeTask(&next_task)) < p.batch * p.slots;) compressor.Run(i);
  });
}

}  // namespace
}  // namespace ms_nsa
