// SPDX-License-Identifier: Apache-2.0
// Chooses the blocks of raw rows that a token reads: computes their importance from the weights of the
// compressed rows, and selects the most important ones.
#pragma once

#include <cstring>

#include "../simd/exp.h"
#include "buffer.h"
#include "visibility.h"

namespace ms_nsa {
namespace {

// Number of rows that a window and a block share, divided by the stride.
class BlockOverlap {
 public:
  static constexpr int64_t kMostLanes = 16;  // of a vector

  BlockOverlap(Arena& arena, int64_t compress_block_size, int64_t compress_stride, int64_t block_size)
      : size_(compress_block_size),
        stride_(compress_stride),
        block_(block_size),
        regular_(block_size % compress_stride == 0),
        first_(FirstWindow(0)),
        count_(LastWindow(0) - first_ + 1),
        weight_(arena.Take<float>(RoundUp(count_, kMostLanes))) {}

  // Fills the table of a regular pattern.
  void Start() const {
    for (int64_t i = 0; regular_ && i < RoundUp(count_, kMostLanes); ++i)
      weight_[i] = i < count_ ? Shared(first_ + i, 0) : 0.0f;
  }

  // What importance reads before and after the weights of the windows: zeros.
  int64_t before() const { return -first_; }
  int64_t after() const { return RoundUp(count_, kMostLanes); }

  // importance[j] of blocks [0, blocks), from the weights of windows
  // [0, windows). The list ends in whole vectors.
  template <class V>
  void Importance(const float* weight, int64_t windows, int64_t blocks, float* importance) const {
    const int64_t end = Min(blocks, windows == 0 ? 0 : ((windows - 1) * stride_ + size_ - 1) / block_ + 1);
    if (regular_) RegularImportance<V>(weight + first_, end, importance);
    for (int64_t j = end; j < blocks; ++j) importance[j] = 0.0f;
    if (regular_) return;
    for (int64_t j = 0; j < end; ++j) {
      float sum = 0.0f;
      for (int64_t c = Max(0, FirstWindow(j)); c <= Min(LastWindow(j), windows - 1); ++c)
        sum += Shared(c, j) * weight[c];
      importance[j] = sum;
    }
  }

 private:
  // Of blocks [0, end), kLanes at a time, whose products are summed together; `from` is the first block's
  // first window.
  template <class V>
  void RegularImportance(const float* from, int64_t end, float* importance) const {
    const int64_t step = block_ / stride_;
    typename V::Reg sums[V::kLanes];
    for (int64_t j = 0; j < end; j += V::kLanes) {
      const int64_t count = Min(V::kLanes, end - j);
#pragma GCC unroll 16
      for (int b = 0; b < V::kLanes; ++b) sums[b] = V::Zero();
      for (int64_t i = 0; i < count_; i += V::kLanes) {
        const auto by = V::Load(weight_ + i);
        // What lies beyond a block's windows may be NaN.
        const auto own = V::MaskFromBits(static_cast<uint32_t>(LowBits(Min(V::kLanes, count_ - i))));
        const float* window = from + j * step + i;
        for (int64_t b = 0; b < count; ++b, window += step)
          sums[b] = V::Fma(V::Select(own, V::Load(window), V::Zero()), by, sums[b]);
      }
      V::Store(importance + j, V::SumEach(sums));
    }
  }

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

// The largest elements of a list; ties go to the smaller index, NaN is above all numbers.
class Largest {
 public:
  explicit Largest(Arena& arena, int64_t count)
      : value_(arena.Take<float>(count)), index_(arena.Take<int32_t>(count)) {}

  void Start(int64_t count) {
    wanted_ = count;
    count_ = 0;
    floor_ = least_ = kNegativeInfinity;
    narrow_ = exact_ = false;
  }

  // Looks for a number that the wanted ones among [first, end) reach and few others: Add then passes over the
  // rest. Of random numbers every new largest one would be sorted in, 3 to 4 times as many as are wanted. If
  // these are all numbers and just the wanted ones reach it, none has to be sorted.
  template <class V>
  void Narrow(const float* number, int64_t first, int64_t end, bool all) {
    if (wanted_ == 0 || end - first < 2 * wanted_) return;
    const auto [mean, largest] = MeanAndLargest<V>(number, first, end);
    if (mean != mean) return;
    int32_t low = 0, high = Order(largest);
    float middle = mean;
    for (int pass = 0; pass < kPasses; ++pass, middle = FromOrder(low + (high - low) / 2)) {
      const int64_t reach = CountFrom<V>(number, first, end, middle);
      (reach >= wanted_ ? low : high) = Order(middle);
      if (reach >= wanted_) floor_ = middle, narrow_ = true;
      exact_ = all && reach == wanted_;
      if (exact_ || (!all && reach >= wanted_ && reach <= wanted_ + wanted_ / 8)) return;
    }
  }

  // Numbers [first, end), which come in ascending order.
  template <class V>
  void Add(const float* number, int64_t first, int64_t end) {
    if (wanted_ == 0) return;
    constexpr uint32_t kAllLanes = (uint32_t{1} << V::kLanes) - 1;
    int64_t i = first;
    for (; i + V::kLanes <= end; i += V::kLanes) {
      const auto x = V::Load(number + i);
      uint32_t may_count = kAllLanes;
      if (narrow_) {
        may_count = V::AtLeast(x, V::Set1(floor_));
      } else if (count_ == wanted_) {
        may_count &= ~V::AtLeast(V::Set1(least_), x);  // NaN, too
      }
      for (; may_count != 0; may_count &= may_count - 1) {
        const int64_t at = i + __builtin_ctz(may_count);
        exact_ ? Append(at) : AddOne(number[at], at);
      }
    }
    for (; i < end; ++i) {
      if (!exact_) AddOne(number[i], i);
      if (exact_ && number[i] >= floor_) Append(i);
    }
  }

  int64_t count() const { return count_; }
  int32_t index(int64_t i) const { return index_[i]; }  // ascending, or the larger numbers first

 private:
  static constexpr int kPasses = 10;  // over all numbers

  // Integers in the order of the floats from 0 up.
  static int32_t Order(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
  }
  static float FromOrder(int32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }

  template <class V>
  static int64_t CountFrom(const float* number, int64_t first, int64_t end, float least) {
    int64_t count = 0, i = first;
    for (; i + V::kLanes <= end; i += V::kLanes)
      count += __builtin_popcount(V::AtLeast(V::Load(number + i), V::Set1(least)));
    for (; i < end; ++i) count += number[i] >= least;
    return count;
  }

  struct Extent {
    float mean, largest;
  };

  template <class V>
  static Extent MeanAndLargest(const float* number, int64_t first, int64_t end) {
    auto sum = V::Zero(), most = V::Zero();
    int64_t i = first;
    for (; i + V::kLanes <= end; i += V::kLanes) {
      sum = V::Add(sum, V::Load(number + i));
      most = V::Max(most, V::Load(number + i));
    }
    float total = V::ReduceAdd(sum), largest = V::ReduceMax(most);
    for (; i < end; ++i) {
      total += number[i];
      largest = largest < number[i] ? number[i] : largest;
    }
    return {total / static_cast<float>(end - first), largest};
  }

  void Append(int64_t index) { index_[count_++] = static_cast<int32_t>(index); }

  void AddOne(float x, int64_t index) {
    if (x != x) x = -kNegativeInfinity;
    if (x < floor_ || (count_ == wanted_ && !(x > least_))) return;
    int64_t at = count_ < wanted_ ? count_++ : wanted_ - 1;
    for (; at > 0 && value_[at - 1] < x; --at) value_[at] = value_[at - 1], index_[at] = index_[at - 1];
    value_[at] = x, index_[at] = static_cast<int32_t>(index);
    if (count_ == wanted_) least_ = value_[wanted_ - 1];
  }

  float* value_;
  int32_t* index_;
  int64_t wanted_ = 0, count_ = 0;
  float floor_ = kNegativeInfinity, least_ = kNegativeInfinity;  // smaller ones are not among them
  bool narrow_ = false;                                          // floor_ was found; there is no NaN
  bool exact_ = false;                                           // and just the wanted ones reach it
};

// A token's position: row `position` of its sequence, which may be outside, and what it may choose from.
struct Candidates {
  int64_t position, blocks;
  const uint8_t* forced;  // the token's row of topk_mask; nullptr: none
};

inline Candidates CandidatesOf(const PackedAttentionInputs& in, const BlockChoice& choice,
                               const Sequence& seq, int64_t s) {
  const int64_t position = in.sparse_mode == SparseMode::kLeftUpCausal ? s : s + seq.raw_len - seq.q_len;
  const int64_t rows = in.sparse_mode == SparseMode::kAll ? seq.raw_len : Min(position + 1, seq.raw_len);
  const uint8_t* forced =
      choice.topk_mask == nullptr ? nullptr : choice.topk_mask + s * choice.topk_mask_cols;
  return {position, rows <= 0 ? 0 : CeilDiv(rows, choice.block_size), forced};
}

// Chooses a token's blocks: first the forced ones in ascending order, then the most important ones.
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
    if (candidates.forced == nullptr) {
      const bool all = Max(LocalBegin(candidates), LocalEnd(candidates)) >= candidates.blocks;
      largest_.Narrow<V>(importance, FirstEnd(candidates), LocalBegin(candidates), all);
    }
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
