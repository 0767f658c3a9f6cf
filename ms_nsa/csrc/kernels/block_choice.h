// SPDX-License-Identifier: Apache-2.0
// Which blocks of raw rows a token reads: their importance from the weights of the compressed rows, and the
// choice of the most important ones.
#pragma once

#include "../simd/exp.h"
#include "buffer.h"
#include "visibility.h"

namespace ms_nsa {
namespace {

// Rows that windows and blocks share, divided by the stride.
class BlockOverlap {
 public:
  BlockOverlap(Arena& arena, int64_t compress_block_size, int64_t compress_stride, int64_t block_size)
      : size_(compress_block_size),
        stride_(compress_stride),
        block_(block_size),
        regular_(block_size % compress_stride == 0),
        first_(FirstWindow(0)),
        count_(LastWindow(0) - first_ + 1),
        weight_(arena.Take<float>(count_)) {}

  // Fills the table of a regular pattern.
  void Start() const {
    for (int64_t i = 0; regular_ && i < count_; ++i) weight_[i] = Shared(first_ + i, 0);
  }

  // What importance reads before and after the weights of the windows: zeros.
  int64_t before() const { return -first_; }
  int64_t after() const { return count_; }

  // importance[j] of blocks [0, blocks) from the weights of windows [0, windows).
  void Importance(const float* weight, int64_t windows, int64_t blocks, float* importance) const {
    for (int64_t j = 0; j < blocks; ++j) importance[j] = 0.0f;
    const int64_t end = Min(blocks, windows == 0 ? 0 : ((windows - 1) * stride_ + size_ - 1) / block_ + 1);
    if (regular_) {
      const float* from = weight + first_;
      for (int64_t j = 0; j < end; ++j, from += block_ / stride_) {
        float sum = 0.0f;
        for (int64_t i = 0; i < count_; ++i) sum += weight_[i] * from[i];
        importance[j] = sum;
      }
      return;
    }
    for (int64_t j = 0; j < end; ++j) {
      for (int64_t c = Max(0, FirstWindow(j)); c <= Min(LastWindow(j), windows - 1); ++c)
        importance[j] += Shared(c, j) * weight[c];
    }
  }

 private:
  // Windows [FirstWindow, LastWindow] share rows with block j; the first may be negative.
  int64_t FirstWindow(int64_t j) const {
    const int64_t row = j * block_ - size_ + 1;  // where such a window starts at the earliest
    return row >= 0 ? CeilDiv(row, stride_) : -(-row / stride_);
  }
  int64_t LastWindow(int64_t j) const { return (j * block_ + block_ - 1) / stride_; }

  float Shared(int64_t window, int64_t j) const {
    const int64_t first = window * stride_, begin = j * block_;
    const int64_t rows = Min(first + size_, begin + block_) - Max(first, begin);
    return static_cast<float>(rows) / static_cast<float>(stride_);
  }

  const int64_t size_, stride_, block_;
  const bool regular_;  // every block meets its windows in the same way
  const int64_t first_, count_;
  float* weight_;
};

// The largest of a list of numbers, ties to the smaller index, NaN above all numbers.
class Largest {
 public:
  explicit Largest(Arena& arena, int64_t count)
      : value_(arena.Take<float>(count)), index_(arena.Take<int32_t>(count)) {}

  void Start(int64_t count) {
    wanted_ = count;
    count_ = 0;
    least_ = kNegativeInfinity;
  }

  // Numbers [first, end), which come in ascending order.
  template <class V>
  void Add(const float* number, int64_t first, int64_t end) {
    if (wanted_ == 0) return;
    int64_t i = first;
    for (; i + V::kLanes <= end; i += V::kLanes) {
      const auto x = V::Load(number + i);
      // NaN is in no maximum for certain, but in every sum.
      const float sum = V::ReduceAdd(x);
      if (count_ == wanted_ && sum == sum && V::ReduceMax(x) <= least_) continue;
      for (int64_t lane = 0; lane < V::kLanes; ++lane) AddOne(number[i + lane], i + lane);
    }
    for (; i < end; ++i) AddOne(number[i], i);
  }

  int64_t count() const { return count_; }
  int32_t index(int64_t i) const { return index_[i]; }  // the larger numbers first

 private:
  void AddOne(float x, int64_t index) {
    if (x != x) x = -kNegativeInfinity;
    if (count_ == wanted_ && !(x > least_)) return;
    int64_t at = count_ < wanted_ ? count_++ : wanted_ - 1;
    for (; at > 0 && value_[at - 1] < x; --at) value_[at] = value_[at - 1], index_[at] = index_[at - 1];
    value_[at] = x, index_[at] = static_cast<int32_t>(index);
    if (count_ == wanted_) least_ = value_[wanted_ - 1];
  }

  float* value_;
  int32_t* index_;
  int64_t wanted_ = 0, count_ = 0;
  float least_ = kNegativeInfinity;
};

// Where a token stands: row `position` of its sequence, which may lie outside, and what it may choose from.
struct Candidates {
  int64_t position, blocks;
  const uint8_t* forced;  // the token's row of topk_mask; nullptr: none
};

inline Candidates CandidatesOf(const SelectAttentionInputs& in, const BlockChoice& choice,
                               const Sequence& seq, int64_t s) {
  const int64_t position = in.sparse_mode == SparseMode::kLeftUpCausal ? s : s + seq.raw_len - seq.q_len;
  const int64_t rows = in.sparse_mode == SparseMode::kAll ? seq.raw_len : Min(position + 1, seq.raw_len);
  const uint8_t* forced =
      choice.topk_mask == nullptr ? nullptr : choice.topk_mask + s * choice.topk_mask_cols;
  return {position, rows <= 0 ? 0 : CeilDiv(rows, choice.block_size), forced};
}

// Chooses a token's blocks: the forced ones, the smaller first, then the most important.
class Chooser {
 public:
  Chooser(Arena& arena, const BlockChoice& choice) : choice_(choice), largest_(arena, choice.block_count) {}

  // Writes block_count indices, ascending, then -1.
  template <class V>
  void Choose(const Candidates& candidates, const float* importance, int32_t* out) {
    const int64_t wanted = choice_.block_count;
    int64_t count = 0;
    ForEachForced(candidates, [&](int64_t block) {
      if (count < wanted) out[count++] = static_cast<int32_t>(block);
    });
    largest_.Start(wanted - count);
    ForEachFree(candidates, [&](int64_t first, int64_t end) { largest_.Add<V>(importance, first, end); });
    for (int64_t i = 0; i < largest_.count(); ++i) Insert(out, count++, largest_.index(i));
    for (; count < wanted; ++count) out[count] = -1;
  }

 private:
  // Blocks [0, FirstEnd) and [LocalBegin, LocalEnd) are forced.
  int64_t FirstEnd(const Candidates& c) const { return Min(choice_.init_blocks, c.blocks); }
  int64_t Own(const Candidates& c) const {
    return c.position >= 0 ? c.position / choice_.block_size : -CeilDiv(-c.position, choice_.block_size);
  }
  int64_t LocalEnd(const Candidates& c) const { return Max(0, Min(Own(c) + 1, c.blocks)); }
  int64_t LocalBegin(const Candidates& c) const {
    return Min(Max(FirstEnd(c), Own(c) + 1 - choice_.local_blocks), Max(FirstEnd(c), LocalEnd(c)));
  }

  template <class F>
  void ForEachForced(const Candidates& c, F f) const {
    const int64_t begin = LocalBegin(c), end = LocalEnd(c);
    if (c.forced == nullptr) {
      for (int64_t block = 0; block < FirstEnd(c); ++block) f(block);
      for (int64_t block = begin; block < end; ++block) f(block);
      return;
    }
    for (int64_t block = 0; block < c.blocks; ++block) {
      if (block < FirstEnd(c) || (begin <= block && block < end) || c.forced[block] != 0) f(block);
    }
  }

  // Calls f(first, end) for runs of blocks that are not forced, ascending.
  template <class F>
  void ForEachFree(const Candidates& c, F f) const {
    const int64_t begin = LocalBegin(c), end = Max(LocalEnd(c), begin);
    const auto run = [&](int64_t first, int64_t last) {
      if (c.forced == nullptr) return f(first, last);
      for (int64_t block = first; block < last; ++block) {
        if (c.forced[block] == 0) f(block, block + 1);
      }
    };
    run(FirstEnd(c), begin);
    run(end, c.blocks);
  }

  static void Insert(int32_t* sorted, int64_t count, int32_t block) {
    for (; count > 0 && sorted[count - 1] > block; --count) sorted[count] = sorted[count - 1];
    sorted[count] = block;
  }

  const BlockChoice& choice_;
  Largest largest_;
};

}  // namespace
}  // namespace ms_nsa
