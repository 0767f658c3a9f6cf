// SPDX-License-Identifier: Apache-2.0
// Decode over compressed rows: scores stay in the workspace until select blocks have been chosen by them.
#pragma once

#include "exchange.h"
#include "paged_range_source.h"

namespace ms_nsa {

class BlockChoiceSource : public PagedRangeSource {
 public:
  using Tokens = PagedTokens<BlockChoiceSource>;
  using PagedRangeSource::PagedRangeSource;

  __aicore__ inline const PagedRangeParams& range() const { return range_; }
  __aicore__ inline int64_t RoundTokens() const { return range_.round_tokens; }

  __aicore__ inline AscendC::GlobalTensor<float> KeptScores(GM_ADDR workspace) const {
    AscendC::GlobalTensor<float> scores;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + range_.scores_at));
    return scores;
  }

  // Scores of a token and kv head: [group, score_floats], a column for each row that it sees and that has a
  // page.
  __aicore__ inline int64_t ScoresOf(int64_t token_row, int32_t head) const {
    const int64_t round = range_.round_tokens, slot = token_row / round % kScoreRounds;
    const int64_t unit = (slot * round + token_row % round) * range_.attention.kv_heads + head;
    return unit * range_.attention.group * range_.score_floats;
  }
  template <class Step>
  __aicore__ inline ScorePlace PlaceOfScores(const Step& step) const {
    return {ScoresOf(step.part.token.row, step.part.head) + step.row,
            static_cast<int32_t>(range_.score_floats)};
  }
};

template <>
constexpr bool kSeesRange<BlockChoiceSource> = true;
template <>
constexpr bool kKeepsScores<BlockChoiceSource> = true;

}  // namespace ms_nsa
