// SPDX-License-Identifier: Apache-2.0
// Iterates over the token rows of packed sequences (training): layout TND with inclusive prefix sums.
#pragma once

#include "attention_params.h"
#include "integers.h"
#include "mask_extents.h"
#include "token.h"

namespace ms_nsa {

// Rows of a sequence that its token number `index` may see.
MS_NSA_FN int64_t PackedVisible(const AttentionParams& params, int64_t index, int64_t q_len, int64_t kv_len) {
  int64_t rows = kv_len;
  if (params.sparse_mode == kLeftUpCausal) rows = index + 1;
  if (params.sparse_mode == kRightDownCausal) rows = index + 1 + kv_len - q_len;
  return VisibleInMask(params, index, Max<int64_t>(Min(rows, kv_len), 0));
}

// Lengths gives QLen(sequence) and KvLen(sequence), the prefix sums. Sums that contradict the shapes or
// decrease are cut to fit: a kernel cannot raise.
template <class Lengths>
class PackedTokens {
 public:
  MS_NSA_FN PackedTokens(const AttentionParams& params, const Lengths& lengths)
      : params_(params), lengths_(lengths) {
    token_.sequence = -1;
    Enter();
  }

  MS_NSA_FN bool Done() const { return token_.row >= params_.tokens; }
  MS_NSA_FN const Token& operator*() const { return token_; }

  // Of the sequence at hand.
  MS_NSA_FN int64_t q_end() const { return q_end_; }
  MS_NSA_FN int64_t q_len() const { return q_len_; }
  MS_NSA_FN int64_t kv_len() const { return kv_len_; }

  // Goes to a later token of the same sequence or, at its end, to the next sequence.
  MS_NSA_FN void Jump(int64_t tokens) {
    token_.row += tokens - 1;
    token_.index += tokens - 1;
    Advance();
  }

  MS_NSA_FN void Advance() {
    ++token_.row;
    ++token_.index;
    if (token_.row < q_end_) {
      token_.visible = Visible();
    } else {
      Enter();
    }
  }

 private:
  // Stops at the next sequence that has token rows; behind the last one nothing is visible.
  MS_NSA_FN void Enter() {
    const int64_t sequences = params_.has_q_lens ? params_.batch : 1;
    while (token_.sequence + 1 < sequences && !Done()) {
      ++token_.sequence;
      Load();
      if (token_.row < q_end_) {
        token_.index = 0;
        token_.visible = Visible();
        return;
      }
    }
    q_end_ = params_.tokens;
    q_len_ = kv_len_ = 0;
    token_.visible = 0;
  }

  MS_NSA_FN void Load() {
    const int64_t b = token_.sequence;
    const int64_t q_end = params_.has_q_lens ? lengths_.QLen(b) : params_.tokens;
    const int64_t kv_end = params_.has_kv_lens ? lengths_.KvLen(b) : params_.kv_rows;
    q_end_ = Min(q_end, params_.tokens);
    q_len_ = Max<int64_t>(q_end_ - token_.row, 0);
    token_.kv_start = kv_end_;
    kv_end_ = Max(kv_end_, Min(kv_end, params_.kv_rows));
    kv_len_ = kv_end_ - token_.kv_start;
  }

  MS_NSA_FN int64_t Visible() const { return PackedVisible(params_, token_.index, q_len_, kv_len_); }

  const AttentionParams& params_;
  const Lengths& lengths_;
  Token token_{};
  int64_t q_end_ = 0, q_len_ = 0, kv_end_ = 0, kv_len_ = 0;
};

}  // namespace ms_nsa
