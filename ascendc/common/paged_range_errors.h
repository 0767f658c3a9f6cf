// SPDX-License-Identifier: Apache-2.0
// Debugging: looks for what first_error.h records among the lengths and pages of decode over a range of rows.
#pragma once

#include "first_error.h"
#include "paged_range_params.h"

namespace ms_nsa {

// Source gives QLen(sequence), KvLen(sequence) and Page(sequence, slot).
template <class Source>
class PagedRangeErrors {
 public:
  MS_NSA_FN PagedRangeErrors(const PagedRangeParams& params, const Source& source)
      : range_(params), p_(params.attention), source_(source) {}

  MS_NSA_FN FirstError Find() {
    FindInQueryLengths();
    const int64_t rows = p_.max_blocks * p_.page_block_size;
    for (int64_t b = 0; b < p_.batch && None(); ++b)
      CheckRange(1, b, source_.KvLen(b), Windows() ? INT32_MAX : rows);
    if (Windows() && None()) CheckPagesForWindows(rows);
    for (int64_t b = 0; b < p_.batch && None(); ++b) CheckPages(b);
    return found_;
  }

 private:
  MS_NSA_FN bool None() const { return found_.rule == BrokenRule::kNone; }
  MS_NSA_FN bool Windows() const { return range_.window_size == 0; }
  MS_NSA_FN int64_t Queries(int64_t sequence) const {
    return p_.has_q_lens ? source_.QLen(sequence) : Max<int64_t>(p_.tokens_per_sequence, 1);
  }
  MS_NSA_FN int64_t WindowsOf(int64_t sequence) const {
    return WindowCount(source_.KvLen(sequence), range_.compress_block_size, range_.compress_stride);
  }

  MS_NSA_FN void CheckRange(int64_t of_keys, int64_t sequence, int64_t rows, int64_t most) {
    if (rows < 0 || rows > most) found_ = {BrokenRule::kRange, of_keys, {sequence}, rows, most, 0};
  }

  MS_NSA_FN void FindInQueryLengths() {
    const int64_t padded = p_.tokens_per_sequence, most = padded > 0 ? padded : p_.tokens;
    int64_t total = 0;
    for (int64_t b = 0; b < p_.batch && None(); ++b) {
      CheckRange(0, b, Queries(b), most);
      total += Queries(b);
    }
    if (None() && padded == 0 && total != p_.tokens) found_ = {BrokenRule::kSum, 0, {}, total, p_.tokens, 0};
  }

  MS_NSA_FN void CheckPagesForWindows(int64_t rows) {
    int64_t most = 0;
    for (int64_t b = 0; b < p_.batch; ++b) most = Max(most, WindowsOf(b));
    if (most > rows) found_ = {BrokenRule::kFewPages, 0, {most}, p_.max_blocks, p_.page_block_size, 0};
  }

  // The pages of all rows that some token of the sequence sees.
  MS_NSA_FN void CheckPages(int64_t sequence) {
    const int64_t queries = Queries(sequence), rows = source_.KvLen(sequence);
    if (queries == 0) return;
    const int64_t end = Windows() ? WindowsOf(sequence) : rows;
    const int64_t first = Windows() ? 0 : Max<int64_t>(rows - queries + 1 - range_.window_size, 0);
    for (int64_t slot = first / p_.page_block_size; slot * p_.page_block_size < end && None(); ++slot) {
      const int64_t page = source_.Page(sequence, slot);
      if (page >= 0 && page < p_.num_blocks) continue;
      found_ = {BrokenRule::kPage, 0, {sequence, slot}, page, p_.num_blocks, 0};
    }
  }

  const PagedRangeParams& range_;
  const AttentionParams& p_;
  const Source& source_;
  FirstError found_{};
};

}  // namespace ms_nsa
