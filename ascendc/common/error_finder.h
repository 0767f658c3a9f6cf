// SPDX-License-Identifier: Apache-2.0
// Debugging: finds the error that first_error.h records. Checks lengths first, then the extents of the mask,
// then indices and pages, token by token.
#pragma once

#include "first_error.h"
#include "packed_tokens.h"
#include "paged_tokens.h"

namespace ms_nsa {

template <class Source>
class ErrorFinder {
 public:
  MS_NSA_FN ErrorFinder(const AttentionParams& params, const Source& source) : p_(params), source_(source) {}

  MS_NSA_FN FirstError Find() {
    if constexpr (Source::kPaged) {
      FindInLengths();
    } else {
      if (p_.has_q_lens) FindInPrefixes(false, p_.tokens);
      if (p_.has_kv_lens) FindInPrefixes(true, p_.kv_rows);
    }
    if (None() && p_.atten_mask_cols > 0) FindInMask();
    if (None()) FindInIndices();
    return found_;
  }

 private:
  MS_NSA_FN bool None() const { return found_.rule == BrokenRule::kNone; }

  MS_NSA_FN int64_t Length(bool of_keys, int64_t sequence) const {
    return of_keys ? source_.KvLen(sequence) : source_.QLen(sequence);
  }

  // Paged: of a sequence.
  MS_NSA_FN int64_t Queries(int64_t sequence) const {
    return p_.has_q_lens ? source_.QLen(sequence) : Max<int64_t>(p_.tokens_per_sequence, 1);
  }

  MS_NSA_FN void FindInPrefixes(bool of_keys, int64_t rows) {
    int64_t last = 0;
    for (int64_t b = 0; b < p_.batch && None(); ++b) {
      const int64_t end = Length(of_keys, b);
      if (end < last)
        found_ = {b == 0 ? BrokenRule::kNegative : BrokenRule::kFalls, of_keys, {b, last}, end, 0, 0};
      last = end;
    }
    if (None() && last != rows) found_ = {BrokenRule::kEnd, of_keys, {}, last, rows, 0};
  }

  MS_NSA_FN void FindInLengths() {
    const int64_t padded = p_.tokens_per_sequence, most_queries = padded > 0 ? padded : p_.tokens;
    int64_t total = 0;
    for (int64_t b = 0; b < p_.batch && None(); ++b) {
      const int64_t queries = Queries(b);
      if (queries < 0 || queries > most_queries)
        found_ = {BrokenRule::kRange, 0, {b}, queries, most_queries, 0};
      if (None()) CheckRange(b, source_.KvLen(b), p_.max_blocks * p_.page_block_size);
      total += queries;
    }
    if (None() && padded == 0 && total != p_.tokens) found_ = {BrokenRule::kSum, 0, {}, total, p_.tokens, 0};
  }

  MS_NSA_FN void CheckRange(int64_t sequence, int64_t rows, int64_t most) {
    if (rows < 0 || rows > most) found_ = {BrokenRule::kRange, 1, {sequence}, rows, most, 0};
  }

  MS_NSA_FN void FindInMask() {
    int64_t queries = 0, keys = 0;
    if constexpr (Source::kPaged) {
      for (int64_t b = 0; b < p_.batch; ++b) {
        queries = Max(queries, Queries(b));
        keys = Max(keys, source_.KvLen(b));
      }
    } else {
      queries = p_.has_q_lens ? LongestOfPrefixes(false) : p_.tokens;
      keys = p_.has_kv_lens ? LongestOfPrefixes(true) : p_.kv_rows;
    }
    if (p_.token_mask) keys = queries;
    if (p_.atten_mask_rows >= queries && p_.atten_mask_cols >= keys) return;
    const BrokenRule rule = p_.token_mask ? BrokenRule::kTokenMask : BrokenRule::kMask;
    found_ = {rule, 0, {queries, keys}, p_.atten_mask_rows, p_.atten_mask_cols, 0};
  }

  MS_NSA_FN int64_t LongestOfPrefixes(bool of_keys) const {
    int64_t last = 0, longest = 0;
    for (int64_t b = 0; b < p_.batch; ++b) {
      const int64_t end = Length(of_keys, b);
      longest = Max(longest, end - last);
      last = end;
    }
    return longest;
  }

  MS_NSA_FN void FindInIndices() {
    for (typename Source::Tokens tokens(p_, source_); !tokens.Done() && None(); tokens.Advance()) {
      const int64_t rows = KvRows(tokens);
      if (rows < 0) continue;
      for (int32_t head = 0; head < p_.kv_heads; ++head) CheckIndices(*tokens, head, rows);
    }
  }

  // Of the token's sequence; -1: the token fills a sequence up.
  MS_NSA_FN int64_t KvRows(const typename Source::Tokens& tokens) const {
    if constexpr (Source::kPaged) {
      const int64_t b = (*tokens).sequence;
      if (b >= p_.batch) return -1;
      return (*tokens).index < Queries(b) ? source_.KvLen(b) : -1;
    } else {
      return tokens.kv_len();
    }
  }

  MS_NSA_FN void CheckIndices(const Token& token, int32_t head, int64_t rows) {
    const int64_t blocks = CeilDiv<int64_t>(rows, p_.select_block_size);
    for (int32_t slot = 0; slot < p_.select_block_count && None(); ++slot) {
      const int64_t index = source_.Index(token.row, head, slot);
      if (index >= blocks) found_ = {BrokenRule::kIndex, 0, {token.row, head, slot}, index, blocks, 0};
      if constexpr (Source::kPaged) {
        if (index >= 0 && None()) CheckPages(token.sequence, index * p_.select_block_size, rows);
      }
    }
  }

  MS_NSA_FN void CheckPages(int64_t sequence, int64_t first, int64_t rows) {
    const int64_t last = Min(first + p_.select_block_size, rows) - 1;
    for (int64_t slot = first / p_.page_block_size; slot <= last / p_.page_block_size && None(); ++slot) {
      const int64_t page = source_.Page(sequence, slot);
      if (page >= 0 && page < p_.num_blocks) continue;
      found_ = {BrokenRule::kPage, 0, {sequence, slot}, page, p_.num_blocks, 0};
    }
  }

  const AttentionParams& p_;
  const Source& source_;
  FirstError found_{};
};

}  // namespace ms_nsa
