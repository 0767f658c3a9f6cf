// SPDX-License-Identifier: Apache-2.0
// What the gradient needs to know where tokens see ranges of key rows (ranged_tokens.h).
#pragma once

#include "grad_exchange.h"
#include "key_check.h"
#include "ranged_tokens.h"

namespace ms_nsa {

class RangedSource {
 public:
  __aicore__ inline RangedSource(const DenseParams& params, const GradAddresses& gm)
      : params_(params), flags_(params.attention, gm.workspace) {
    dropped_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(gm.atten_mask));
    q_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.q_lens));
    kv_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.kv_lens));
  }

  __aicore__ inline int64_t QLen(int64_t sequence) const { return q_lens_.GetValue(sequence); }
  __aicore__ inline int64_t KvLen(int64_t sequence) const { return kv_lens_.GetValue(sequence); }
  __aicore__ inline bool Dropped(int64_t index, int64_t column) const {
    return dropped_.GetValue(index * params_.attention.atten_mask_cols + column) != 0;
  }
  __aicore__ inline bool Careful(int64_t head, const Segment& segment, int64_t block) const {
    const int64_t size = params_.attention.select_block_size, row = segment.kv_start + block * size;
    return flags_.Any(head, row, Min(row + size, segment.kv_start + segment.kv_len));
  }
  __aicore__ inline const DenseParams& params() const { return params_; }

 private:
  const DenseParams& params_;
  KeyFlags flags_;
  AscendC::GlobalTensor<uint8_t> dropped_;
  AscendC::GlobalTensor<int64_t> q_lens_, kv_lens_;
};

__aicore__ inline VisibleRows VisibleOf(const AttentionParams&, const RangedSource& source,
                                        const Segment& segment, int64_t token, int64_t start, int64_t whole) {
  return VisibleInRange(source.params(), source, segment, token, start, whole);
}

template <class T>
struct RangedRule {
  using Source = RangedSource;
  using Index = RangedIndex<RangedSource>;
  using Builder = KeyCheck<T>;
  using Rows = RangedRows<RangedSource>;

  // From the Source alone, as SelectedRule's.
  class Segments : public RangedSegmentWalk<RangedSource> {
   public:
    __aicore__ inline Segments(const AttentionParams&, const RangedSource& source)
        : RangedSegmentWalk<RangedSource>(source.params(), source) {}
  };

  static __aicore__ inline Index IndexOf(const Source& source, const Segment& segment, const BlockIndex&) {
    return {source.params(), source, segment};
  }

  static constexpr bool kIndexed = false;  // after the first segment, in which Builder looks at all keys

  static __aicore__ inline int64_t BlockOf(const AttentionParams& params, const Source& source,
                                           const Segment& segment, int64_t token, int32_t, int32_t slot) {
    const int64_t count = params.select_block_count, first = FirstBlock(source.params(), segment, token);
    const int64_t block = first + (slot - first % count + count) % count;
    return block < segment.Blocks(params) ? block : -1;
  }

  static __aicore__ inline Rows RowsOf(const AttentionParams&, const Source& source, const Segment& segment,
                                       int64_t token, int32_t) {
    return {source.params(), source, segment, token};
  }

  // As SelectedRule's. Tokens that share a strip have the same slot of it and follow one another: their parts
  // lie side by side, so that a tile's leave L0C as one.
  static constexpr bool kTokensTouch = true;
  static __aicore__ inline int64_t FirstPart(const AttentionParams& p, int64_t token, int32_t head) {
    return head * PartStep(p) * p.select_block_count + token;
  }
  static __aicore__ inline int64_t PartStep(const AttentionParams& p) { return p.segment_tokens; }

  static constexpr bool kGaps = false;
  static __aicore__ inline bool Starts(const Source& source, const Segment& segment, int64_t block) {
    return TokensOfSequence(source, segment, block).first >= segment.index;
  }
  static __aicore__ inline bool Ends(const Source& source, const Segment& segment, int64_t block) {
    return TokensOfSequence(source, segment, block).end <= segment.index + segment.tokens;
  }

  static __aicore__ inline bool IsFirst(const AttentionParams&, const Source&, const Segment&, const Tile&,
                                        int32_t) {
    return true;
  }

 private:
  static __aicore__ inline TokenRange TokensOfSequence(const Source& source, const Segment& segment,
                                                       int64_t block) {
    Segment all = segment;
    all.row -= segment.index;
    all.index = 0;
    all.tokens = segment.q_len;
    return TokensOfBlock(source.params(), all, block);
  }
};

}  // namespace ms_nsa
