// SPDX-License-Identifier: Apache-2.0
// Segments: runs of tokens of one sequence that the block-outer kernels process together.
#pragma once

#include "packed_tokens.h"

namespace ms_nsa {

struct Segment {
  int64_t row;  // first token row
  int64_t tokens;
  int64_t index;                    // of the first token inside its sequence
  int64_t q_len, kv_len, kv_start;  // of the sequence
  int64_t raw_len;                  // rows that positions count; kv_len unless keys are compressed

  MS_NSA_FN int64_t Visible(const AttentionParams& params, int64_t token) const {
    return PackedVisible(params, index + token, q_len, kv_len);
  }
  MS_NSA_FN int64_t Blocks(const AttentionParams& params) const {
    return CeilDiv<int64_t>(kv_len, params.select_block_size);
  }
};

template <class Lengths>
class SegmentWalk {
 public:
  MS_NSA_FN SegmentWalk(const AttentionParams& params, const Lengths& lengths)
      : params_(params), tokens_(params, lengths) {}

  MS_NSA_FN bool Next(Segment& segment) {
    if (tokens_.Done()) return false;
    const Token& token = *tokens_;
    const int64_t tokens = Min<int64_t>(params_.segment_tokens, tokens_.q_end() - token.row);
    const int64_t kv_len = tokens_.kv_len();
    segment = {token.row, tokens, token.index, tokens_.q_len(), kv_len, token.kv_start, kv_len};
    tokens_.Jump(tokens);
    return true;
  }

 private:
  const AttentionParams& params_;
  PackedTokens<Lengths> tokens_;
};

}  // namespace ms_nsa
