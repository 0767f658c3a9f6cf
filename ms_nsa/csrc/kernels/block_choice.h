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

// Every kStep-th number, for a power of two: lane b of to[i] is from[b * kStep + i].
template <class V, int kStep>
inline void LoadStrided(const float* from, typename V::Reg* to) {
#pragma GCC unroll 8
  for (int i = 0; i < kStep; ++i) to[i] = V::Load(from + i * V::kLanes);
#pragma GCC unroll 3
  for (int gap = 1; gap < kStep; gap *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kStep; ++i) {
      if ((i & gap) == 0) V::Deinterleave(to[i], to[i + gap]);
    }
  }
}

// Number of rows that a window and a block share, divided by the stride.
class BlockOverlap {
 public:
  BlockOverlap(Arena& arena, int64_t compress_block_size, int64_t compress_stride, int64_t block_size)
      : size_(compress_block_size),
        stride_(compress_stride),
        block_(block_size),
        regular_(block_size % compress_stride == 0),
        step_(block_size / compress_stride),
        first_(FirstWindow(0)),
        count_(LastWindow(0) - first_ + 1),
        weight_(arena.Take<float>(count_)) {}

  // Fills the table of a regular pattern.
  void Start() const {
    for (int64_t i = 0; regular_ && i < count_; ++i) weight_[i] = Shared(first_ + i, 0);
  }

  // What importance reads before and after the weights of the windows: zeros, and then anything.
  int64_t before() const { return -first_; }
  int64_t after() const { return count_; }
  int64_t readable_after() const { return after() + kMostLanes * step_ + RoundUp(count_, Max(1, step_)); }

  // importance[j] of blocks [0, blocks), from the weights of windows
  // [0, windows). The list ends in whole vectors.
  template <class V>
  void Importance(const float* weight, int64_t windows, int64_t blocks, float* importance) const {
    const int64_t end = Min(blocks, windows == 0 ? 0 : ((windows - 1) * stride_ + size_ - 1) / block_ + 1);
    if (!regular_) {
      SumShared(weight, windows, end, importance);
    } else if (step_ == 1) {
      SumStrided<V, 1>(weight + first_, end, importance);
    } else if (step_ == 2) {
      SumStrided<V, 2>(weight + first_, end, importance);
    } else if (step_ == 4) {
      SumStrided<V, 4>(weight + first_, end, importance);
    } else if (step_ == 8) {
      SumStrided<V, 8>(weight + first_, end, importance);
    } else {
      SumRegular(weight + first_, end, importance);
    }
    for (int64_t j = end; j < blocks; ++j) importance[j] = 0.0f;
  }

 private:
  static constexpr int64_t kMostLanes = 16;  // of a vector

  // Of blocks [0, end), kLanes at a time; `from` is the first block's first window.
  template <class V, int kStep>
  void SumStrided(const float* from, int64_t end, float* importance) const {
    for (int64_t j = 0; j < end; j += V::kLanes, from += V::kLanes * kStep) {
      auto sum = V::Zero();
      for (int64_t first = 0; first < count_; first += kStep) {
        typename V::Reg window[kStep];
        LoadStrided<V, kStep>(from + first, window);
#pragma GCC unroll 8
        for (int i = 0; i < kStep; ++i) {
          if (first + i < count_) sum = V::Fma(window[i], V::Set1(weight_[first + i]), sum);
        }
      }
      V::Store(importance + j, sum);
    }
  }

  void SumRegular(const float* from, int64_t end, float* importance) const {
    for (int64_t j = 0; j < end; ++j, from += step_) {
      float sum = 0.0f;
      for (int64_t i = 0; i < count_; ++i) sum += weight_[i] * from[i];
      importance[j] = sum;
    }
  }

  void SumShared(const float* weight, int64_t windows, int64_t end, float* importance) const {
    for (int64_t j = 0; j < end; ++j) {
      float sum = 0.0f;
      for (int64_t c = Max(0, FirstWindow(j)); c <= Min(LastWindow(j), windows - 1); ++c)
        sum += Shared(c, j) * weight[c];
      importance[j] = sum;
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
  const int64_t step_;  // windows from one block's first to the next one's, where regular
  const int64_t first_, count_;
  float* weight_;
};

// Which numbers of a list reach a bound, a bit for each.
class Reaching {
 public:
  Reaching(Arena& arena, int64_t most) : word_(arena.Take<uint64_t>(CeilDiv(most, kBits))) {}

  // How many of number[0, count) are at least `least`; NaN is not.
  template <class V>
  int64_t Find(const float* number, int64_t count, float least) {
    const auto bound = V::Set1(least);
    int64_t reach = 0;
    for (int64_t first = 0; first < count; first += kBits) {
      const int64_t end = Min(kBits, count - first);
      uint64_t word = 0;
      int64_t i = 0;
      for (; i + V::kLanes <= end; i += V::kLanes)
        word |= uint64_t{V::AtLeast(V::Load(number + first + i), bound)} << i;
      for (; i < end; ++i) word |= uint64_t{number[first + i] >= least} << i;
      word_[first / kBits] = word;
      reach += __builtin_popcountll(word);
    }
    count_ = count;
    return reach;
  }

  // Calls f(index) for those that do, ascending.
  template <class F>
  void ForEach(F f) const {
    for (int64_t first = 0; first < count_; first += kBits) {
      for (uint64_t word = word_[first / kBits]; word != 0; word &= word - 1)
        f(first + __builtin_ctzll(word));
    }
  }

 private:
  static constexpr int64_t kBits = 64;

  uint64_t* word_;
  int64_t count_ = 0;
};

// The largest elements of a list; ties go to the smaller index, NaN is above all numbers.
class Largest {
 public:
  Largest(Arena& arena, int64_t count, int64_t most)
      : value_(arena.Take<float>(count)), index_(arena.Take<int32_t>(count)), reaching_(arena, most) {}

  void Start(int64_t count) {
    wanted_ = count;
    count_ = 0;
    floor_ = least_ = kNegativeInfinity;
    narrow_ = false;
  }

  // Looks for a number that the wanted ones among number[0, count) reach and few others: Add then passes over
  // the rest. Of random numbers every new largest one would be sorted in, 3 to 4 times as many as are wanted.
  // Returns whether just the wanted ones reach it; then ForEachReaching has them and none has to be sorted.
  template <class V>
  bool Narrow(const float* number, int64_t count) {
    if (wanted_ == 0 || count < 2 * wanted_) return false;
    const auto [mean, largest] = MeanAndLargest<V>(number, count);
    if (mean != mean) return false;
    // Neighbours' lists are much alike, so the search goes out from the last number in growing steps.
    int64_t low = 0, high = Order(largest), step = kFirstStep;
    int64_t middle = Order(0.0f < last_ && last_ < largest ? last_ : mean);
    for (int pass = 0; pass < kPasses && low < high; ++pass, step *= 2) {
      last_ = FromOrder(middle);
      const int64_t reach = reaching_.Find<V>(number, count, last_);
      if (reach >= wanted_) floor_ = last_, narrow_ = true;
      if (reach == wanted_) return true;
      if (reach > wanted_) {
        low = middle + 1;
        middle = Min(middle + step, low + (high - low) / 2);
      } else {
        high = middle;
        middle = Max(middle - step, low + (high - low) / 2);
      }
    }
    return false;
  }

  // Calls f(index) for all that Narrow has found, ascending.
  template <class F>
  void ForEachReaching(F f) const {
    reaching_.ForEach(f);
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
        AddOne(number[at], at);
      }
    }
    for (; i < end; ++i) AddOne(number[i], i);
  }

  int64_t count() const { return count_; }
  int32_t index(int64_t i) const { return index_[i]; }  // the larger numbers first

 private:
  static constexpr int kPasses = 12;              // over all numbers
  static constexpr int64_t kFirstStep = 1 << 19;  // of Order: about a sixteenth

  // Integers in the order of the floats from 0 up.
  static int64_t Order(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
  }
  static float FromOrder(int64_t order) {
    const auto bits = static_cast<int32_t>(order);
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }

  struct Extent {
    float mean, largest;
  };

  template <class V>
  static Extent MeanAndLargest(const float* number, int64_t count) {
    auto sum = V::Zero(), most = V::Zero();
    int64_t i = 0;
    for (; i + V::kLanes <= count; i += V::kLanes) {
      sum = V::Add(sum, V::Load(number + i));
      most = V::Max(most, V::Load(number + i));
    }
    float total = V::ReduceAdd(sum), largest = V::ReduceMax(most);
    for (; i < count; ++i) {
      total += number[i];
      largest = largest < number[i] ? number[i] : largest;
    }
    return {total / static_cast<float>(count), largest};
  }

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
  Reaching reaching_;
  int64_t wanted_ = 0, count_ = 0;
  float floor_ = kNegativeInfinity, least_ = kNegativeInfinity;  // smaller ones are not among them
  bool narrow_ = false;                                          // floor_ was found; there is no NaN
  float last_ = 0.0f;                                            // that Narrow has tried, for any list
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
  // For tokens with at most so many blocks.
  Chooser(Arena& arena, const BlockChoice& choice, int64_t most_blocks)
      : choice_(choice), largest_(arena, choice.block_count, most_blocks) {}

  // Writes block_count indices, ascending, then -1.
  template <class V>
  void Choose(const Candidates& candidates, const float* importance, int32_t* out) {
    const int64_t wanted = choice_.block_count;
    int64_t count = 0;
    ForEachForced(candidates, [&](int64_t block) {
      if (count < wanted) out[count++] = static_cast<int32_t>(block);
    });
    largest_.Start(wanted - count);
    const int64_t first = FirstEnd(candidates), begin = LocalBegin(candidates), end = LocalEnd(candidates);
    const bool found = candidates.forced == nullptr && largest_.Narrow<V>(importance + first, begin - first);
    if (found && Max(begin, end) >= candidates.blocks) {
      count = first;
      largest_.ForEachReaching([&](int64_t i) { out[count++] = static_cast<int32_t>(first + i); });
      for (int64_t block = begin; block < end; ++block) out[count++] = static_cast<int32_t>(block);
      return;
    }
    ForEachFree(candidates, [&](int64_t from, int64_t to) { largest_.Add<V>(importance, from, to); });
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
