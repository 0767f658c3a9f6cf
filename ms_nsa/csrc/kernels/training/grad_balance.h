// SPDX-License-Identifier: Apache-2.0
// Keeps the score gradients of a row balanced. Their exact sum is known: zero, or what the gradient of
// softmax_sum contributes. With 16-bit operands the sum is off: delta is computed from a rounded
// attention_out, and the score gradients may be rounded too. If all keys share a large element, dQ multiplies
// this surplus by it; if one key has nearly all the weight, the surplus is most of that key's score gradient.
// So the sum of the values that entered the products is kept, and its surplus is subtracted once per row: the
// share of that weight from the key that has most of it, if there is one, and the rest from what all keys
// have in common.
#pragma once

#include <cstring>

#include "../../simd/exp.h"
#include "../buffer.h"
#include "../careful.h"
#include "../visibility.h"

namespace ms_nsa {
namespace {

// A share of dQ of a chunk: per row the gradient, the sums of score gradients, one for each lane, and a key.
// The three lie apart, so that what is touched in every step stays near.
template <class V>
class GradShare {
 public:
  GradShare(float* memory, int64_t max_rows, int64_t d1)
      : gradient_(memory),
        sums_(memory + max_rows * Stride(d1)),
        top_(sums_ + max_rows * V::kLanes),
        stride_(Stride(d1)) {}

  static int64_t Stride(int64_t d1) { return RoundUp(d1, V::kLanes); }
  static int64_t Size(int64_t max_rows, int64_t d1) {
    return RoundUp(max_rows * (Stride(d1) + V::kLanes + 1), kAlignment / sizeof(float));
  }

  float* gradient(int64_t row) const { return gradient_ + row * stride_; }
  float* sums(int64_t row) const { return sums_ + row * V::kLanes; }
  float Sum(int64_t row) const { return V::ReduceAdd(V::Load(sums(row))); }

  // The key of the largest score, where it was looked for; -1: none.
  int64_t top(int64_t row) const {
    int32_t number;
    std::memcpy(&number, top_ + row, sizeof number);
    return int64_t{number} - 1;
  }
  void set_top(int64_t row, int64_t key) const {
    const int32_t number = static_cast<int32_t>(key + 1);
    std::memcpy(top_ + row, &number, sizeof number);
  }

  void Clear(int64_t rows) const {
    std::memset(gradient_, 0, rows * stride_ * sizeof(float));
    std::memset(sums_, 0, rows * V::kLanes * sizeof(float));
    std::memset(top_, 0, rows * sizeof(float));
  }

  void AddRow(const GradShare& other, int64_t row) const {
    for (int64_t i = 0; i < stride_; i += V::kLanes) {
      V::Store(gradient(row) + i, V::Add(V::Load(gradient(row) + i), V::Load(other.gradient(row) + i)));
    }
    V::Store(sums(row), V::Add(V::Load(sums(row)), V::Load(other.sums(row))));
    if (other.top(row) >= 0) set_top(row, other.top(row));
  }

 private:
  float* gradient_;
  float* sums_;
  float* top_;
  int64_t stride_;
};

// Sums of a row's score gradients as the products read them: of the vectors themselves where those are the
// operands, otherwise of the operands, once they are stored.
template <class Dot>
class OperandSums {
 public:
  using V = typename Dot::Vec;
  using Reg = typename V::Reg;

  OperandSums() {
    if constexpr (Dot::kPair == 1) return;
    typename Dot::Operand one[2 * V::kLanes];
    Dot::StorePair(one, V::Set1(1.0f), V::Set1(1.0f));
    ones_ = Dot::LoadB(one);
  }

  static void Add(Reg& sum, Reg ds) {
    if constexpr (Dot::kBalanced && Dot::kPair == 1) sum = V::Add(sum, ds);
  }

  // What was added, and vectors [first, end) of the stored row, go to the row's sums; first is even.
  void Finish(Reg sum, typename Dot::Operand* ds, int64_t first, int64_t end, float* sums) const {
    if constexpr (!Dot::kBalanced) return;
    if constexpr (Dot::kPair == 2) {
      if (end % 2 != 0) Dot::StoreRow(ds + end * V::kLanes, V::Zero());
      for (int64_t v = first; v < end; v += 2) sum = Dot::MulAdd(sum, ones_, Dot::LoadB(ds + v * V::kLanes));
    }
    V::Store(sums, V::Add(V::Load(sums), sum));
  }

 private:
  typename Dot::B ones_;
};

// A row whose largest score has at least so much of the weight has its key looked for. With less, the other
// keys' share of the surplus matters: at 0.25 and 0.75 single elements became worse.
constexpr float kTopWeight = 0.9f;

// An element of the top key is large if it is at least this many times what the other keys, at the top key's
// root mean square, could set against it with their weights.
constexpr float kLargeElement = 4.0f;

// Takes `of_top` times the top key from a row's gradient, where the key's elements are large: there the
// surplus shows. In the others the gradient's error is the surplus times the keys' weighted mean, which may
// be smaller than what would be left.
template <class V, class E>
inline void TakeBackTop(float* gradient, float of_top, float top_weight, const typename E::Storage* key,
                        int64_t d1) {
  const float mean_square = DotRows<V, E>(key, key, d1) / static_cast<float>(d1);
  const float others = kLargeElement * (1.0f - top_weight);
  const float least_square = others * others * mean_square;
  for (int64_t i = 0; i < d1; i += V::kLanes) {
    const int64_t lanes = Min(V::kLanes, d1 - i);
    float element[V::kLanes];
    V::Store(element, LoadUpTo<V, E>(key + i, lanes));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float x = top_weight * element[lane];
      gradient[i + lane] -= x * x >= least_square ? of_top * element[lane] : 0.0f;
    }
  }
}

// Notes which key has the largest of a row's scores from first_key on, z = scale * score, if the weights
// warrant the search.
template <class V>
inline void NoteTop(const GradShare<V>& share, int64_t row, const float* score, int64_t vectors, float scale,
                    float max, float inverse_sum, uint64_t visible, int64_t first_key) {
  if (!(inverse_sum >= kTopWeight) || share.top(row) >= 0) return;
  const auto by = V::Set1(scale);
  auto largest = V::Mul(V::Load(score), by);
  for (int64_t v = 1; v < vectors; ++v) largest = V::Max(largest, V::Mul(V::Load(score + v * V::kLanes), by));
  if (V::ReduceMax(largest) < max) return;
  ForEachVisible(visible, [&](int64_t key) {
    if (score[key] * scale == max) share.set_top(row, first_key + key);
  });
}

// What the keys that a token sees have in common: elements that lie close together, far from zero, in all
// keys of a sample. Neither the order of the slots nor a key taken twice matters to the least and the
// largest.
template <class V, class E>
class CommonKey {
 public:
  using Storage = typename E::Storage;

  CommonKey(Arena& arena, const PackedAttentionInputs& in)
      : in_(in),
        block_(arena.Take<int32_t>(in.select_block_count + 1)),
        key_(arena.Take<const Storage*>(in.select_block_count + kWanted)),
        common_(arena.Take<float>(RoundUp(in.d1, V::kLanes))) {}

  // nullptr if there is nothing.
  const float* Find(const ChunkList::Item& chunk, int64_t token) {
    const int64_t s = chunk.first_token + token;
    if (!EndsAreAlike(chunk, s)) return nullptr;
    const int64_t keys = Sample(chunk, s);
    if (keys < kEnough) return nullptr;
    for (int64_t i = 0; i < in_.d1; i += V::kLanes) {
      FindLanes(keys, i, Min(V::kLanes, in_.d1 - i));
    }
    return common_;
  }

 private:
  static constexpr int64_t kWanted = 8, kEnough = 8;
  static constexpr float kAlike =
      0.25f;  // least product of two keys, as a fraction of the larger one's square
  static constexpr float kClose = 8.0f;  // times half their spread is less than their distance from zero

  // Whether the first keys of the token's first and last block have much in common. Without this look at two
  // keys before the others, which may be far away in memory, the gradient took 24 % longer at one head a
  // group.
  bool EndsAreAlike(const ChunkList::Item& chunk, int64_t s) const {
    const int64_t limit = VisibleLimit(in_, chunk.seq, s), size = in_.select_block_size;
    int64_t least = limit, largest = -1;
    ForEachBlock(chunk, s, limit, [&](int64_t block) {
      least = Min(least, block);
      largest = Max(largest, block);
    });
    if (least >= largest) return least == largest;
    if (VisibleKeys(in_, limit, s, least * size, 1) == 0 ||
        VisibleKeys(in_, limit, s, largest * size, 1) == 0)
      return true;
    const Storage *a = KeyAt<Storage>(in_, chunk, least * size),
                  *b = KeyAt<Storage>(in_, chunk, largest * size);
    const float product = DotRows<V, E>(a, b, in_.d1);
    const float first = DotRows<V, E>(a, a, in_.d1), second = DotRows<V, E>(b, b, in_.d1);
    return product > kAlike * (first < second ? second : first);
  }

  // Calls f(block) for the blocks that hold visible keys, perhaps more than once; only for blocks whose first
  // key is visible, and a few of them, where there is no list.
  template <class F>
  void ForEachBlock(const ChunkList::Item& chunk, int64_t s, int64_t limit, F f) const {
    const int64_t size = in_.select_block_size;
    if (in_.key_rule != KeyRule::kSelected) {
      const int64_t first = CeilDiv(VisibleFrom(in_, limit), size), blocks = CeilDiv(limit, size) - first;
      const int64_t count = Min(blocks, kWanted);
      for (int64_t i = 0; i < count; ++i) f(first + i * (blocks - 1) / Max(1, count - 1));
      return;
    }
    const int32_t* slot =
        in_.topk_indices + ((chunk.seq.q_start + s) * in_.n2 + chunk.head) * in_.select_block_count;
    for (int64_t i = 0; i < in_.select_block_count; ++i) {
      if (slot[i] >= 0 && slot[i] * size < limit) f(slot[i]);
    }
  }

  // One key of each block, more where there are few blocks.
  int64_t Sample(const ChunkList::Item& chunk, int64_t s) {
    const int64_t limit = VisibleLimit(in_, chunk.seq, s), size = in_.select_block_size;
    const int64_t blocks = FindBlocks(chunk, s, limit), each = Min(CeilDiv(kWanted, Max(blocks, 1)), size);
    int64_t keys = 0;
    for (int64_t i = 0; i < blocks * each; ++i) {
      const int64_t key = block_[i / each] * size + i % each * size / each;
      if (key < chunk.seq.kv_len && VisibleKeys(in_, limit, s, key, 1) != 0)
        key_[keys++] = KeyAt<Storage>(in_, chunk, key);
    }
    return keys;
  }

  int64_t FindBlocks(const ChunkList::Item& chunk, int64_t s, int64_t limit) {
    int64_t blocks = 0;
    ForEachBlock(chunk, s, limit, [&](int64_t block) {
      bool again = false;
      for (int64_t j = 0; j < blocks; ++j) again |= block_[j] == block;
      block_[blocks] = static_cast<int32_t>(block);
      blocks += !again;
    });
    return blocks;
  }

  void FindLanes(int64_t keys, int64_t column, int64_t lanes) {
    auto largest = V::Set1(kNegativeInfinity), opposite = largest;  // the latter of -x: there is no minimum
    for (int64_t k = 0; k < keys; ++k) {
      const Storage* at = key_[k] + column;
      const auto x = LoadUpTo<V, E>(at, lanes);
      largest = V::Max(largest, x);
      opposite = V::Max(opposite, V::Sub(V::Zero(), x));
    }
    float minus_low[V::kLanes], high[V::kLanes];
    V::Store(minus_low, opposite);
    V::Store(high, largest);
    for (int64_t i = 0; i < V::kLanes; ++i) {
      const float middle = 0.5f * high[i] - 0.5f * minus_low[i],
                  spread = 0.5f * high[i] + 0.5f * minus_low[i];
      common_[column + i] = __builtin_fabsf(middle) > kClose * spread ? middle : 0.0f;
    }
  }

  const PackedAttentionInputs& in_;
  int32_t* block_;  // different ones
  const Storage** key_;
  float* common_;
};

}  // namespace
}  // namespace ms_nsa
