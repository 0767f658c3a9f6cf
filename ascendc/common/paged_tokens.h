// SPDX-License-Identifier: Apache-2.0
// Iterates over the token rows of paged inference: the sequence of each, and how many kv rows it may see.
#pragma once

#include "attention_params.h"
#include "integers.h"
#include "mask_extents.h"
#include "token.h"

namespace ms_nsa {

// Lengths gives QLen(sequence) and KvLen(sequence). Lengths that contradict the shapes are cut to fit: a
// kernel cannot raise.
template <class Lengths>
class PagedTokens {
 public:
  MS_NSA_FN PagedTokens(const AttentionParams& params, const Lengths& lengths)
      : params_(params), lengths_(lengths), token_{} {
    Enter();
  }

  MS_NSA_FN bool Done() const { return token_.row >= params_.tokens; }
  MS_NSA_FN const Token& operator*() const { return token_; }

  MS_NSA_FN void Advance() {
    ++token_.row;
    ++token_.index;
    if (token_.index < rows_) {
      token_.visible = Visible();
      return;
    }
    token_.index = 0;
    ++token_.sequence;
    Enter();
  }

 private:
  // Stops at the next sequence that has token rows; behind the last one all rows are padding.
  MS_NSA_FN void Enter() {
    for (; token_.sequence < params_.batch && !Done(); ++token_.sequence) {
      Load();
      if (rows_ > 0) {
        token_.visible = Visible();
        return;
      }
    }
    rows_ = params_.tokens;
    q_len_ = 0;
    token_.visible = 0;
  }

  MS_NSA_FN void Load() {
    const int64_t padded = params_.tokens_per_sequence;
    q_len_ = params_.has_q_lens ? Max<int64_t>(lengths_.QLen(token_.sequence), 0) : Max<int64_t>(padded, 1);
    if (padded > 0) q_len_ = Min(q_len_, padded);
    rows_ = padded > 0 ? padded : q_len_;
    kv_len_ = lengths_.KvLen(token_.sequence);
    token_.new_start = kv_len_ - q_len_;
  }

  MS_NSA_FN int64_t Visible() const {
    if (token_.index >= q_len_) return 0;
    int64_t rows = kv_len_ - (q_len_ - 1 - token_.index);
    if (params_.sparse_mode == kLeftUpCausal) rows = Min(rows, token_.index + 1);
    const int64_t start = params_.token_mask ? token_.new_start : 0;
    return VisibleInMask(params_, token_.index, Max<int64_t>(rows, 0), start);
  }

  const AttentionParams& params_;
  const Lengths& lengths_;
  Token token_;
  int64_t q_len_ = 0, kv_len_ = 0, rows_ = 0;
};

}  // namespace ms_nsa
