// SPDX-License-Identifier: Apache-2.0
// Debugging: looks for what first_error.h records among the lengths, slots and pages of compression.
#pragma once

#include "first_error.h"
#include "paged_windows.h"

namespace ms_nsa {

constexpr int64_t kOfRawRows = 2;  // FirstError's of_keys for actual_seq_len

// Source gives SeqLen(sequence), the prefix sums.
template <class Source>
MS_NSA_FN FirstError FindInRawSequences(const CompressParams& p, const Source& source) {
  int64_t last = 0, windows = 0;
  for (int64_t b = 0; p.has_lens && b < p.batch; ++b) {
    const int64_t end = source.SeqLen(b);
    if (end < last)
      return {b == 0 ? BrokenRule::kNegative : BrokenRule::kFalls, kOfRawRows, {b, last}, end, 0, 0};
    windows += WindowCount(end - last, p.compress_block_size, p.compress_stride);
    last = end;
  }
  if (p.has_lens && last != p.rows) return {BrokenRule::kEnd, kOfRawRows, {}, last, p.rows, 0};
  if (!p.has_lens) windows = WindowCount(p.rows, p.compress_block_size, p.compress_stride);
  if (windows > p.windows) return {BrokenRule::kWindows, 0, {}, p.windows, windows, 0};
  return {};
}

// Source gives what WindowOfEntry takes.
template <class Source>
class PagedCompressErrorFinder {
 public:
  MS_NSA_FN PagedCompressErrorFinder(const CompressParams& params, const Source& source)
      : p_(params), source_(source) {}

  MS_NSA_FN FirstError Find() {
    for (int64_t b = 0; b < p_.batch && None(); ++b)
      CheckRange(kOfRawRows, b, source_.SeqLen(b), p_.max_blocks * p_.page_block_size);
    for (int64_t b = 0; p_.has_q_lens && b < p_.batch && None(); ++b)
      CheckRange(0, b, source_.QLen(b), INT32_MAX);
    for (int64_t b = 0; b < p_.batch && None(); ++b) CheckNewWindows(b);
    return found_;
  }

 private:
  MS_NSA_FN bool None() const { return found_.rule == BrokenRule::kNone; }

  MS_NSA_FN void CheckRange(int64_t lengths, int64_t sequence, int64_t rows, int64_t most) {
    if (rows < 0 || rows > most) found_ = {BrokenRule::kRange, lengths, {sequence}, rows, most, 0};
  }

  MS_NSA_FN void CheckNewWindows(int64_t sequence) {
    const int64_t rows = source_.SeqLen(sequence), new_rows = p_.has_q_lens ? source_.QLen(sequence) : 1;
    const int64_t after = WindowCount(rows, p_.compress_block_size, p_.compress_stride);
    const int64_t before = WindowCount(rows - new_rows, p_.compress_block_size, p_.compress_stride);
    if (after - before > p_.slots) found_ = {BrokenRule::kSlots, 0, {sequence}, p_.slots, after - before, 0};
    for (int64_t i = 0; i < after - before && None(); ++i) {
      if (source_.Slot(sequence * p_.slots + i) >= 0) CheckPages(sequence, (before + i) * p_.compress_stride);
    }
  }

  MS_NSA_FN void CheckPages(int64_t sequence, int64_t first) {
    const int64_t last = first + p_.compress_block_size - 1;
    for (int64_t slot = first / p_.page_block_size; slot <= last / p_.page_block_size && None(); ++slot) {
      const int64_t page = source_.Page(sequence, slot);
      if (page >= 0 && page < p_.num_blocks) continue;
      found_ = {BrokenRule::kPage, 0, {sequence, slot}, page, p_.num_blocks, 0};
    }
  }

  const CompressParams& p_;
  const Source& source_;
  FirstError found_{};
};

}  // namespace ms_nsa
