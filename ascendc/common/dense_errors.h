// SPDX-License-Identifier: Apache-2.0
// Debugging: looks for what first_error.h records among the lengths and masks of the dense schedule.
#pragma once

#include "dense_ranges.h"
#include "first_error.h"

namespace ms_nsa {

// Source gives QLen(sequence) and KvLen(sequence), the prefix sums.
template <class Source>
class DenseErrors {
 public:
  MS_NSA_FN DenseErrors(const DenseParams& params, const Source& source)
      : params_(params), p_(params.attention), source_(source) {}

  MS_NSA_FN FirstError Find() {
    const bool windows = params_.key_rule == kCompressedRows;
    int64_t queries = p_.tokens, rows = params_.raw_rows;
    if (p_.has_q_lens) queries = FindInPrefixes(0, p_.tokens);
    if (p_.has_kv_lens && None()) rows = FindInPrefixes(1, windows ? kAnyEnd : p_.kv_rows);
    if (!None() || !windows) return found_;
    FindInWindows();
    const int64_t most = WindowCount(rows, params_.compress_block_size, params_.compress_stride);
    CheckMask(BrokenRule::kMask, queries, most, p_.atten_mask_rows, p_.atten_mask_cols);
    const int64_t blocks = CeilDiv<int64_t>(rows, Max(p_.select_block_size, 1));
    CheckMask(BrokenRule::kChoiceMask, queries, blocks, params_.topk_mask_rows, params_.topk_mask_cols);
    return found_;
  }

 private:
  static constexpr int64_t kAnyEnd = -1;

  MS_NSA_FN bool None() const { return found_.rule == BrokenRule::kNone; }

  // Returns the longest sequence.
  MS_NSA_FN int64_t FindInPrefixes(int64_t of_keys, int64_t rows) {
    int64_t last = 0, longest = 0;
    for (int64_t b = 0; b < p_.batch && None(); ++b) {
      const int64_t end = of_keys ? source_.KvLen(b) : source_.QLen(b);
      if (end < last)
        found_ = {b == 0 ? BrokenRule::kNegative : BrokenRule::kFalls, of_keys, {b, last}, end, 0, 0};
      longest = Max(longest, end - last);
      last = end;
    }
    if (None() && rows != kAnyEnd && last != rows) found_ = {BrokenRule::kEnd, of_keys, {}, last, rows, 0};
    return longest;
  }

  MS_NSA_FN void FindInWindows() {
    int64_t last = 0, windows = 0;
    for (int64_t b = 0; b < p_.batch; ++b) {
      const int64_t end = p_.has_kv_lens ? source_.KvLen(b) : params_.raw_rows;
      windows += WindowCount(end - last, params_.compress_block_size, params_.compress_stride);
      last = end;
    }
    if (windows > p_.kv_rows) found_ = {BrokenRule::kWindows, 0, {}, p_.kv_rows, windows, 0};
  }

  MS_NSA_FN void CheckMask(BrokenRule rule, int64_t queries, int64_t columns, int64_t rows, int64_t cols) {
    if (!None() || cols == 0 || (rows >= queries && cols >= columns)) return;
    found_ = {rule, 0, {queries, columns}, rows, cols, 0};
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  const Source& source_;
  FirstError found_{};
};

}  // namespace ms_nsa
