// SPDX-License-Identifier: Apache-2.0
// Debugging: looks for what first_error.h records where tokens see ranges of key rows: lengths first, then
// rows of key for all windows, then atten_mask's extents.
#pragma once

#include "dense_ranges.h"
#include "first_error.h"

namespace ms_nsa {

template <class Source>
class RangedErrorFinder {
 public:
  MS_NSA_FN RangedErrorFinder(const DenseParams& params, const Source& source)
      : params_(params), p_(params.attention), source_(source) {}

  MS_NSA_FN FirstError Find() {
    const bool compressed = params_.key_rule == kCompressedRows;
    if (p_.has_q_lens) FindInPrefixes(false, p_.tokens);
    // Where raw rows end, compressed ones do not tell.
    if (p_.has_kv_lens && None()) FindInPrefixes(true, compressed ? -1 : p_.kv_rows);
    if (compressed && None()) FindInWindows();
    return found_;
  }

 private:
  MS_NSA_FN bool None() const { return found_.rule == BrokenRule::kNone; }

  MS_NSA_FN int64_t Length(bool of_keys, int64_t sequence) const {
    return of_keys ? source_.KvLen(sequence) : source_.QLen(sequence);
  }

  // rows: where they must end; below 0: anywhere.
  MS_NSA_FN void FindInPrefixes(bool of_keys, int64_t rows) {
    int64_t last = 0;
    for (int64_t b = 0; b < p_.batch && None(); ++b) {
      const int64_t end = Length(of_keys, b);
      if (end < last)
        found_ = {b == 0 ? BrokenRule::kNegative : BrokenRule::kFalls, of_keys, {b, last}, end, 0, 0};
      last = end;
    }
    if (None() && rows >= 0 && last != rows) found_ = {BrokenRule::kEnd, of_keys, {}, last, rows, 0};
  }

  MS_NSA_FN void FindInWindows() {
    const int64_t size = params_.compress_block_size, stride = params_.compress_stride;
    const int64_t sequences = p_.has_q_lens || p_.has_kv_lens ? p_.batch : 1;
    int64_t queries = 0, windows = 0, rows = 0, q_last = 0, raw_last = 0;
    for (int64_t b = 0; b < sequences; ++b) {
      const int64_t q_end = p_.has_q_lens ? Length(false, b) : p_.tokens;
      const int64_t raw_end = p_.has_kv_lens ? Length(true, b) : params_.raw_rows;
      const int64_t some = WindowCount(raw_end - raw_last, size, stride);
      queries = Max(queries, q_end - q_last);
      windows = Max(windows, some);
      rows += some;
      q_last = q_end;
      raw_last = raw_end;
    }
    if (p_.kv_rows < rows) {
      found_ = {BrokenRule::kWindows, 0, {}, p_.kv_rows, rows, 0};
    } else if (p_.atten_mask_cols > 0 && (p_.atten_mask_rows < queries || p_.atten_mask_cols < windows)) {
      found_ = {BrokenRule::kMask, 0, {queries, windows}, p_.atten_mask_rows, p_.atten_mask_cols, 0};
    }
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  const Source& source_;
  FirstError found_{};
};

}  // namespace ms_nsa
