// SPDX-License-Identifier: Apache-2.0
// The sequences of packed raw rows and their windows.
#pragma once

#include "compress_params.h"

namespace ms_nsa {

struct RawSequence {
  int64_t row, rows;        // of the packed tensor
  int64_t window, windows;  // windows are numbered through all sequences
};

// Lengths gives SeqLen(sequence), the prefix sums. Sums that contradict the shapes or decrease are cut to
// fit, and windows that the rows of output or grad cannot hold do not exist: a kernel cannot raise.
template <class Lengths>
class RawSequences {
 public:
  MS_NSA_FN RawSequences(const CompressParams& params, const Lengths& lengths)
      : p_(params), lengths_(lengths) {}

  MS_NSA_FN void Restart() { number_ = row_ = window_ = 0; }

  MS_NSA_FN bool Next(RawSequence& sequence) {
    const int64_t sequences = p_.has_lens ? p_.batch : 1;
    if (number_ >= sequences) return false;
    const int64_t end = Max(row_, Min(p_.has_lens ? lengths_.SeqLen(number_) : p_.rows, p_.rows));
    const int64_t windows = WindowCount(end - row_, p_.compress_block_size, p_.compress_stride);
    sequence = {row_, end - row_, window_, Min(windows, p_.windows - window_)};
    row_ = end;
    window_ += sequence.windows;
    ++number_;
    return true;
  }

 private:
  const CompressParams& p_;
  const Lengths& lengths_;
  int64_t number_ = 0, row_ = 0, window_ = 0;
};

template <class Lengths>
MS_NSA_FN int64_t CountWindows(const CompressParams& params, const Lengths& lengths) {
  RawSequences<Lengths> sequences(params, lengths);
  int64_t windows = 0;
  for (RawSequence sequence{}; sequences.Next(sequence);) windows = sequence.window + sequence.windows;
  return windows;
}

}  // namespace ms_nsa
