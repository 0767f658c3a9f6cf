// SPDX-License-Identifier: Apache-2.0
// The largest of a row of numbers, by the vector unit's sorting of pairs: the smaller number first among
// equals, so that the choice does not depend on how the row was cut.
#pragma once

#include "dense_buffers.h"

namespace ms_nsa {

// What stands for NaN, which comes before all numbers, and for blocks that are chosen in any case.
constexpr float kAboveAll = 1.0e30f, kForced = 2.0e30f;

class TopBlocks {
 public:
  // Works where scores lie else: none may be on their way.
  __aicore__ inline TopBlocks(const DenseParams& params, DenseBuffers& ub)
      : count_(params.attention.select_block_count), ub_(ub) {}

  __aicore__ inline void Start() {
    AscendC::CreateVecIndex(ub_.Order(), int32_t{0}, kSortBlocks);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // `count` numbers from the start of all rows on.
  __aicore__ inline void ReplaceNan(int32_t count) {
    constexpr int32_t kMost = kHalfRows * kDenseStep / 2;
    const Floats rows = ub_.Importance();
    const AscendC::LocalTensor<uint8_t> numbers = ub_.Scores(0).template ReinterpretCast<uint8_t>();
    AscendC::PipeBarrier<PIPE_V>();
    for (int32_t at = 0; at < count; at += kMost) {
      const uint32_t some = Min(count - at, kMost);
      AscendC::Compare(numbers, rows[at], rows[at], AscendC::CMPMODE::EQ, some);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Select(rows[at], numbers, rows[at], kAboveAll, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE,
                      some);
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  // The count_ largest of row[0, candidates), by number in ascending order, then -1. What fills the row up to
  // 64 numbers must be kNoScore.
  __aicore__ inline void Choose(const Floats& row, int64_t candidates,
                                const AscendC::LocalTensor<int32_t>& out) {
    const int32_t found = Min<int64_t>(candidates, count_);
    kept_ = 0;
    for (int64_t first = 0; first < candidates; first += kSortBlocks) {
      const int32_t numbers = RoundUp<int64_t>(Min<int64_t>(candidates - first, kSortBlocks), kSorted);
      AscendC::Adds(Indices(), ub_.Order(), static_cast<int32_t>(first), numbers);
      AscendC::PipeBarrier<PIPE_V>();
      Keep(Sort(row[first], numbers));
    }
    if (found > 0) Ascend(found, out);
    AscendC::PipeBarrier<PIPE_V>();
    FillPart(out, found, count_, -1);
  }

 private:
  static constexpr int32_t kSorted = 32;  // numbers that Sort32 sorts
  static constexpr int32_t kPair = 2;     // floats
  static constexpr int32_t kListFloats = 2 * kMostChosen * kPair;
  static constexpr int32_t kPairsFloats = kSortBlocks * kPair;
  static_assert(2 * kPairsFloats <= kHalfRows * kDenseStep, "two arrays of pairs in a slot of scores");
  static_assert(kSortBlocks + 2 * kListFloats + kMostChosen <= kHalfRows * kDenseStep, "the other slot");

  struct Sorted {
    Floats pairs;
    int32_t length;
  };

  // Slot 0 of scores: two arrays of pairs. Slot 1: indices, the running list twice, indices as floats.
  __aicore__ inline Floats Pairs(int32_t which) { return ub_.Scores(0)[which * kPairsFloats]; }
  __aicore__ inline AscendC::LocalTensor<int32_t> Indices() {
    return ub_.Scores(1).template ReinterpretCast<int32_t>();
  }
  __aicore__ inline Floats List(int32_t which) { return ub_.Scores(1)[kSortBlocks + which * kListFloats]; }
  __aicore__ inline Floats Keys() { return List(2); }

  // Of `numbers` scores with their Indices(), lists of 32 merged four at a time, of each no more than are
  // wanted.
  __aicore__ inline Sorted Sort(const Floats& scores, int32_t numbers) {
    int32_t lists = numbers / kSorted, which = 0, stride = kSorted;  // pairs from list to list
    int32_t length = kSorted, last = kSorted;                        // of the last list
    AscendC::Sort32(Pairs(0), scores, Indices().template ReinterpretCast<uint32_t>(), lists);
    AscendC::PipeBarrier<PIPE_V>();
    while (lists > 1) {
      const int32_t groups = CeilDiv(lists, 4), each = Min(length, count_), tail = Min(last, count_);
      for (int32_t group = 0; group < groups; ++group) {
        const int32_t at = group * 4 * stride * kPair, queues = Min(lists - 4 * group, 4);
        Merge(Pairs(1 - which)[at], Pairs(which)[at], stride, queues, each,
              group + 1 == groups ? tail : each);
      }
      AscendC::PipeBarrier<PIPE_V>();
      last = (lists - 4 * (groups - 1) - 1) * each + tail;
      length = 4 * each;
      lists = groups;
      stride *= 4;
      which = 1 - which;
    }
    return {Pairs(which), last};
  }

  // Queues `stride` pairs apart, of `each` pairs, the last one of `tail`.
  __aicore__ inline void Merge(const Floats& to, const Floats& from, int32_t stride, int32_t queues,
                               int32_t each, int32_t tail) {
    if (queues == 1) return Copy(to, from, tail);
    AscendC::MrgSort4Info info;
    info.validBit = (1 << queues) - 1;
    for (int32_t i = 0; i < queues; ++i) info.elementLengths[i] = i + 1 == queues ? tail : each;
    AscendC::MrgSortSrcList<float> lists;
    lists.src1 = from[0];
    lists.src2 = from[stride * kPair];
    lists.src3 = from[Min(2, queues - 1) * stride * kPair];
    lists.src4 = from[Min(3, queues - 1) * stride * kPair];
    AscendC::MrgSort(to, lists, info);
  }

  __aicore__ inline void Copy(const Floats& to, const Floats& from, int32_t pairs) {
    AscendC::Adds(to.template ReinterpretCast<int32_t>(), from.template ReinterpretCast<int32_t>(), 0,
                  pairs * kPair);
  }

  // Merges the running list, whose blocks are smaller, with another one.
  __aicore__ inline void Keep(const Sorted& sorted) {
    const int32_t length = Min(sorted.length, count_);
    if (kept_ == 0) {
      Copy(List(running_), sorted.pairs, length);
    } else {
      AscendC::MrgSort4Info info;
      info.validBit = 3;
      info.elementLengths[0] = kept_;
      info.elementLengths[1] = length;
      AscendC::MrgSortSrcList<float> lists;
      lists.src1 = lists.src3 = lists.src4 = List(running_);
      lists.src2 = sorted.pairs;
      AscendC::MrgSort(List(1 - running_), lists, info);
      running_ = 1 - running_;
    }
    kept_ = Min(kept_ + length, count_);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // The indices of the first `found` pairs of the running list, in ascending order: sorted once more, by
  // their negatives.
  __aicore__ inline void Ascend(int32_t found, const AscendC::LocalTensor<int32_t>& out) {
    const int32_t numbers = RoundUp(found, kSorted);
    TakeIndices(Indices(), List(running_), numbers);
    AscendC::Cast(Keys(), Indices(), AscendC::RoundMode::CAST_NONE, numbers);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Muls(Keys(), Keys(), -1.0f, numbers);
    AscendC::PipeBarrier<PIPE_V>();
    FillPart(Keys(), found, numbers, kNoScore);
    AscendC::PipeBarrier<PIPE_V>();
    TakeIndices(out, Sort(Keys(), numbers).pairs, numbers);
  }

  __aicore__ inline void TakeIndices(const AscendC::LocalTensor<int32_t>& indices, const Floats& pairs,
                                     int32_t numbers) {
    constexpr uint8_t kEverySecond = 2;
    uint64_t taken = 0;
    AscendC::GatherMask(indices, pairs.template ReinterpretCast<int32_t>(), kEverySecond, false, 0,
                        {1, static_cast<uint16_t>(numbers / kSorted), kLanes / kBlockFloats, 0}, taken);
    AscendC::PipeBarrier<PIPE_V>();
  }

  const int32_t count_;
  int32_t kept_ = 0, running_ = 0;
  DenseBuffers& ub_;
};

}  // namespace ms_nsa
