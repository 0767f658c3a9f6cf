// SPDX-License-Identifier: Apache-2.0
// The slices of rows that one core loads for its windows: runs of windows of one sequence, slice by slice.
// The windows of a part of the heads are a line, and the parts' lines follow one another.
#pragma once

#include "compress_sequences.h"
#include "core_split.h"

namespace ms_nsa {

struct WindowSlice {
  int32_t part;
  int64_t sequence;  // paged
  int64_t row;       // its first: packed, of the tensor; paged, of the sequence
  int64_t window;    // first of its run, where output has it
  int64_t windows;   // of its run
  int64_t number;    // of the slice in the run
};

template <class Lengths>
class WindowWalk {
 public:
  MS_NSA_FN WindowWalk(const CompressParams& params, const Lengths& lengths, int64_t core, int64_t cores)
      : p_(params), lengths_(lengths), sequences_(params, lengths), windows_(CountWindows(params, lengths)) {
    const int64_t all = windows_ * PartsOf(params);
    at_ = Quota(all, core, cores);
    end_ = Quota(all, core + 1, cores);
  }

  // Of all sequences.
  MS_NSA_FN int64_t windows() const { return windows_; }

  MS_NSA_FN bool Next(WindowSlice& slice) {
    if (run_.number + 1 < slices_) {
      ++run_.number;
      run_.row += p_.slice_rows;
    } else if (!NextRun()) {
      return false;
    }
    slice = run_;
    return true;
  }

 private:
  MS_NSA_FN bool NextRun() {
    if (at_ >= end_) return false;
    const int64_t part = at_ / windows_, window = at_ % windows_;
    if (window == 0) {
      sequences_.Restart();
      sequence_ = {};
    }
    while (window >= sequence_.window + sequence_.windows) sequences_.Next(sequence_);
    const int64_t first = window - sequence_.window, left = sequence_.windows - first;
    run_.part = static_cast<int32_t>(part);
    run_.row = sequence_.row + first * p_.compress_stride;
    run_.window = window;
    run_.windows = Min(left, end_ - at_);
    run_.number = 0;
    slices_ = (run_.windows - 1) * SlicesOfStride(p_) + SlicesOfWindow(p_);
    at_ += run_.windows;
    return true;
  }

  const CompressParams& p_;
  const Lengths& lengths_;
  RawSequences<Lengths> sequences_;
  RawSequence sequence_{};
  int64_t windows_, at_, end_;
  WindowSlice run_{};
  int64_t slices_ = 0;
};

}  // namespace ms_nsa
