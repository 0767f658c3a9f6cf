// SPDX-License-Identifier: Apache-2.0
// Which key rows a token sees by the rules of the sliding window and of compressed rows: always a range, but
// for atten_mask.
#pragma once

#include "dense_params.h"
#include "integers.h"
#include "windows.h"

namespace ms_nsa {

// A sequence: its token rows, its raw rows, and its rows of key and value, which are the raw ones or windows.
struct Span {
  int64_t row, q_len;
  int64_t raw_len;
  int64_t key_row, key_len;
};

struct KeyRange {
  int64_t first, end;  // rows of the sequence; equal: none

  MS_NSA_FN int64_t rows() const { return end - first; }
};

// Row of its sequence where token number `index` stands; it may lie outside.
MS_NSA_FN int64_t PositionOf(const DenseParams& params, const Span& span, int64_t index) {
  return params.attention.sparse_mode == kLeftUpCausal ? index : index + span.raw_len - span.q_len;
}

// Raw rows up to the token's position; all without a causal rule.
MS_NSA_FN int64_t RowsUpTo(const DenseParams& params, const Span& span, int64_t index) {
  if (params.attention.sparse_mode == kAllRows) return span.raw_len;
  return Max<int64_t>(Min(PositionOf(params, span, index) + 1, span.raw_len), 0);
}

// Rows beyond atten_mask's extents count as dropped.
MS_NSA_FN KeyRange SeenBy(const DenseParams& params, const Span& span, int64_t index) {
  const AttentionParams& p = params.attention;
  const int64_t limit = RowsUpTo(params, span, index);
  if (params.key_rule == kWindowRows) {
    const int64_t end = Min(limit, span.key_len);
    return {Min(Max<int64_t>(limit - params.window_size, 0), end), end};
  }
  int64_t end = Min(WindowCount(limit, params.compress_block_size, params.compress_stride), span.key_len);
  if (p.atten_mask_cols > 0) end = index < p.atten_mask_rows ? Min(end, p.atten_mask_cols) : 0;
  return {0, end};
}

// Of tokens [first, end): both ends of what a token sees grow with its number, up to atten_mask's last row.
MS_NSA_FN KeyRange SeenByAny(const DenseParams& params, const Span& span, int64_t first, int64_t end) {
  const AttentionParams& p = params.attention;
  if (p.atten_mask_cols > 0 && first < p.atten_mask_rows) end = Min(end, p.atten_mask_rows);
  const KeyRange low = SeenBy(params, span, first), high = SeenBy(params, span, end - 1);
  return {Min(low.first, high.end), high.end};
}

// Lengths gives QLen(sequence) and KvLen(sequence), the prefix sums, of raw rows the latter. Sums that
// contradict the shapes or decrease are cut to fit: a kernel cannot raise. Token rows behind the last one
// come as a sequence without keys.
template <class Lengths>
class SpanWalk {
 public:
  MS_NSA_FN SpanWalk(const DenseParams& params, const Lengths& lengths)
      : params_(params), lengths_(lengths) {}

  MS_NSA_FN bool Next(Span& span) {
    const AttentionParams& p = params_.attention;
    const int64_t sequences = p.has_q_lens ? p.batch : 1;
    if (sequence_ > sequences || (sequence_ == sequences && row_ >= p.tokens)) return false;
    if (sequence_ == sequences) {
      span = {row_, p.tokens - row_, 0, key_row_, 0};
    } else {
      const int64_t q_end = p.has_q_lens ? lengths_.QLen(sequence_) : p.tokens;
      span = {row_, Max<int64_t>(Min(q_end, p.tokens) - row_, 0), 0, key_row_, 0};
      AddKeys(span, p.has_kv_lens ? lengths_.KvLen(sequence_) : params_.raw_rows);
    }
    ++sequence_;
    row_ += span.q_len;
    key_row_ += span.key_len;
    return true;
  }

 private:
  MS_NSA_FN void AddKeys(Span& span, int64_t raw_end) {
    const int64_t size = params_.compress_block_size, stride = params_.compress_stride;
    const int64_t left = Max<int64_t>(params_.attention.kv_rows - key_row_, 0);
    const bool raw = params_.key_rule == kWindowRows;
    const int64_t most = raw ? left : left * stride + size - 1;  // raw rows that keys are there for
    span.raw_len = Min(Max<int64_t>(raw_end - raw_row_, 0), most);
    span.key_len = raw ? span.raw_len : WindowCount(span.raw_len, size, stride);
    raw_row_ += span.raw_len;
  }

  const DenseParams& params_;
  const Lengths& lengths_;
  int64_t sequence_ = 0, row_ = 0, raw_row_ = 0, key_row_ = 0;
};

}  // namespace ms_nsa
