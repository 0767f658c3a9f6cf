// SPDX-License-Identifier: Apache-2.0
// Gradient of one token chunk of one (sequence, kv head): its rows, the loop over kv blocks, and the final
// writes.
#pragma once

#include "backward_tile.h"
#include "strided_prefetch.h"

namespace ms_nsa {
namespace {

// Blocks first, first + step, first + 2 step ...
struct Blocks {
  int64_t first, step;
};

// dQ of a chunk as the sum of `count` shares; block b adds to share b % count.
template <class V>
struct QueryGradShares {
  float* memory;
  int64_t count, max_rows, d1;

  GradShare<V> At(int64_t i) const {
    return GradShare<V>(memory + i * GradShare<V>::Size(max_rows, d1), max_rows, d1);
  }
};

template <class Dot, class E>
class BackwardWorker {
 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  using Storage = typename E::Storage;

  static int64_t BytesPerRow(const PackedAttentionInputs& in) {
    return (RowStride<Dot>(in.d1) + RowStride<Dot>(in.d2)) * sizeof(Operand) +
           (GradShare<V>::Stride(in.d1) + V::kLanes + 5) * sizeof(float);
  }

  BackwardWorker(Arena& arena, const PackedAttentionGradParams& p, const ChunkList& chunks)
      : p_(p),
        in_(p.in),
        group_(in_.n1 / in_.n2),
        index_(arena, CeilDiv(chunks.max_kv_len(), in_.select_block_size),
               chunks.max_tokens() * in_.select_block_count),
        tile_(arena, in_) {
    const int64_t rows = chunks.max_tokens() * group_;
    rows_.query_stride = RowStride<Dot>(in_.d1);
    rows_.grad_stride = RowStride<Dot>(in_.d2);
    rows_.query = arena.Take<Operand>(rows * rows_.query_stride);
    rows_.grad = arena.Take<Operand>(rows * rows_.grad_stride);
    rows_.saved.shift = arena.Take<float>(rows);
    rows_.saved.inverse = arena.Take<float>(rows);
    rows_.saved.delta = arena.Take<float>(rows);
    top_grad_ = arena.Take<float>(rows);
  }

  // Adds every step-th block of the chunk from the first on to the kv gradients, and to the shares of dQ,
  // which are overwritten.
  void Run(const ChunkList::Item& chunk, const Blocks& blocks, const KvGrads& grads,
           const QueryGradShares<V>& dq) {
    index_.Build(in_, chunk);
    Start(chunk);
    for (int64_t i = 0; i < dq.count; ++i) dq.At(i).Clear(chunk.tokens * group_);
    for (int64_t block = Next(blocks.first, blocks.step), next; block < index_.blocks(); block = next) {
      next = Next(block + blocks.step, blocks.step);
      PlanPrefetch(chunk, block, next, grads);
      const GradShare<V> share = dq.At(block % dq.count);
      ForEachKeyTile(block, in_.select_block_size, chunk.seq.kv_len, [&](const KeyTile& tile) {
        tile_.Open(chunk.seq, chunk.head, tile, grads);
        ForEachBatch(in_, chunk, index_, block, tile, batch_, [&](const RowBatch<kBackwardRows>& batch) {
          Prefetch(batch.count);
          tile_.Run(batch, rows_, share);
        });
      });
    }
    if (any_top_grad_) AddTopGrads(chunk, blocks, grads, dq);
  }

 private:
  int64_t Next(int64_t block, int64_t step) const {
    while (block < index_.blocks() && index_.count(block) == 0) block += step;
    return block;
  }

  void PlanPrefetch(const ChunkList::Item& chunk, int64_t block, int64_t next, const KvGrads& grads) {
    const int64_t first = next * in_.select_block_size;
    const int64_t rows = Min(kKeyTile, Min(in_.select_block_size, chunk.seq.kv_len - first));
    const int64_t kv_row = (chunk.seq.kv_start + first) * in_.n2 + chunk.head;
    const int64_t key_bytes = in_.d1 * sizeof(Storage), value_bytes = in_.d2 * sizeof(Storage);
    const int64_t dk_bytes = grads.dk_stride * sizeof(float), dv_bytes = grads.dv_stride * sizeof(float);
    next_[0] = StridedPrefetch(static_cast<const char*>(in_.key) + kv_row * key_bytes, key_bytes,
                               in_.n2 * key_bytes, rows);
    next_[1] = StridedPrefetch(static_cast<const char*>(in_.value) + kv_row * value_bytes, value_bytes,
                               in_.n2 * value_bytes, rows);
    next_[2] = StridedPrefetch(grads.dk + first * grads.dk_stride, dk_bytes, dk_bytes, rows);
    next_[3] = StridedPrefetch(grads.dv + first * grads.dv_stride, dv_bytes, dv_bytes, rows);
    prefetch_wait_ = index_.count(block) * group_ - kBackwardRows;
  }

  // All at once before the last rows of the block: a step of the backward is long enough to hide it.
  void Prefetch(int64_t rows) {
    prefetch_wait_ -= rows;
    if (prefetch_wait_ > 0) return;
    for (StridedPrefetch& next : next_) next.Advance(kKeyTile);
  }

  void Start(const ChunkList::Item& chunk) {
    any_top_grad_ = false;
    const auto* query = static_cast<const Storage*>(in_.query);
    const auto* grad = static_cast<const Storage*>(p_.grad);
    const auto* out = static_cast<const Storage*>(p_.attention_out);
    for (int64_t row = 0; row < chunk.tokens * group_; ++row) {
      const int64_t from = QueryRow(in_, chunk, row);
      PackRow<Dot, E>(query + from * in_.d1, in_.d1, rows_.query + row * rows_.query_stride);
      PackRow<Dot, E>(grad + from * in_.d2, in_.d2, rows_.grad + row * rows_.grad_stride);
      const float sum = p_.softmax_sum[from * kStatLanes];
      rows_.saved.shift[row] = sum == 0.0f ? -kNegativeInfinity : p_.softmax_max[from * kStatLanes];
      rows_.saved.inverse[row] = sum == 0.0f ? 0.0f : 1.0f / sum;
      rows_.saved.delta[row] = DotRows<V, E>(grad + from * in_.d2, out + from * in_.d2, in_.d2);
      top_grad_[row] = 0.0f;
      const bool used = p_.softmax_max_grad != nullptr || p_.softmax_sum_grad != nullptr;
      if (used && sum != 0.0f) TakeStatisticsGrad(row, from * kStatLanes);
    }
  }

  // softmax_sum's gradient reaches every score by its exponential, and the largest score besides; there it
  // and softmax_max's cancel in every function of max + log(sum). What rounding leaves of them is not worth a
  // search for that score.
  void TakeStatisticsGrad(int64_t row, int64_t at) {
    const float max_grad = LaneSum(p_.softmax_max_grad, at);
    const float by_exponentials = LaneSum(p_.softmax_sum_grad, at) * p_.softmax_sum[at];
    const float top_grad = max_grad - by_exponentials;
    rows_.saved.delta[row] -= by_exponentials;
    constexpr float kRounding = 0x1p-18f;
    if (__builtin_fabsf(top_grad) <= kRounding * __builtin_fabsf(max_grad)) return;
    top_grad_[row] = top_grad;
    any_top_grad_ = true;
  }

  // Adds each row's gradient of its largest score, of the first one where several are equal. Blocks that are
  // another task's are left to it.
  void AddTopGrads(const ChunkList::Item& chunk, const Blocks& blocks, const KvGrads& grads,
                   const QueryGradShares<V>& dq) const {
    for (int64_t row = 0; row < chunk.tokens * group_; ++row) {
      if (top_grad_[row] == 0.0f) continue;
      const auto* query = static_cast<const Storage*>(in_.query) + QueryRow(in_, chunk, row) * in_.d1;
      const int64_t top = TopKey(chunk, row, query), block = top / in_.select_block_size;
      if (top < 0 || block % blocks.step != blocks.first) continue;
      const auto* key = KeyAt<Storage>(in_, chunk, top);
      const float weight = top_grad_[row] * in_.scale_value;
      AddScaledRow<V, E>(dq.At(block % dq.count).gradient(row), weight, key, in_.d1);
      AddScaledRow<V, E>(grads.dk + top * grads.dk_stride, weight, query, in_.d1);
    }
  }

  int64_t TopKey(const ChunkList::Item& chunk, int64_t row, const Storage* query) const {
    int64_t top = -1;
    float max = kNegativeInfinity;
    index_.ForEachRow(in_, chunk, row / group_, [&](int64_t key) {
      const float z = in_.scale_value * DotRows<V, E>(query, KeyAt<Storage>(in_, chunk, key), in_.d1);
      if (z <= max && top >= 0) return;
      top = key, max = z;
    });
    return top;
  }

  const PackedAttentionGradParams& p_;
  const PackedAttentionInputs& in_;
  const int64_t group_;
  InverseIndex index_;
  BackwardTile<Dot, E> tile_;
  ChunkRows<Dot> rows_;
  RowBatch<kBackwardRows> batch_;
  StridedPrefetch next_[4];  // key, value, dk, dv
  int64_t prefetch_wait_ = 0;
  float* top_grad_;  // of each row's largest score, beyond what its exponential gets
  bool any_top_grad_ = false;
};

}  // namespace
}  // namespace ms_nsa
