// SPDX-License-Identifier: Apache-2.0
// For the gradient, what tokens of a segment see by the rules of dense_ranges.h, in terms of the block-outer
// schedule: a block is a strip of key rows, a slot of a token one of the blocks that its range touches. A
// block has the same slot in all tokens, its number modulo the number of slots: no range touches more blocks.
#pragma once

#include "block_workspace.h"
#include "dense_ranges.h"
#include "row_walk.h"
#include "segments.h"
#include "visible_rows.h"

namespace ms_nsa {

MS_NSA_FN Span SpanOf(const Segment& segment) {
  return {segment.row - segment.index, segment.q_len, segment.raw_len, segment.kv_start, segment.kv_len};
}

// As SegmentWalk; its token rows behind the last sequence come with it, without keys.
template <class Lengths>
class RangedSegmentWalk {
 public:
  MS_NSA_FN RangedSegmentWalk(const DenseParams& params, const Lengths& lengths)
      : params_(params), spans_(params, lengths) {}

  MS_NSA_FN bool Next(Segment& segment) {
    while (index_ >= span_.q_len) {
      if (!spans_.Next(span_)) return false;
      index_ = 0;
    }
    const int64_t tokens = Min(MostTokens(), span_.q_len - index_);
    segment = {span_.row + index_, tokens, index_, span_.q_len, span_.key_len, span_.key_row, span_.raw_len};
    index_ += tokens;
    return true;
  }

 private:
  // The first segment is smaller and the last ones shrink: no other work hides the deltas of the first one,
  // and the sums of the last.
  MS_NSA_FN int64_t MostTokens() const {
    const AttentionParams& p = params_.attention;
    if (p.tokens <= p.segment_tokens) return p.segment_tokens;
    if (span_.row + index_ == 0) return CeilDiv(p.segment_tokens, 2);
    if (span_.row + span_.q_len < p.tokens) return p.segment_tokens;
    const int64_t half = CeilDiv<int64_t>(span_.q_len - index_, 2), least = CeilDiv(p.segment_tokens, 4);
    return Min<int64_t>(Max(half, least), p.segment_tokens);
  }

  const DenseParams& params_;
  SpanWalk<Lengths> spans_;
  Span span_{};
  int64_t index_ = 0;
};

// First block of a token's range.
MS_NSA_FN int64_t FirstBlock(const DenseParams& params, const Segment& segment, int64_t token) {
  return SeenBy(params, SpanOf(segment), segment.index + token).first / params.attention.select_block_size;
}

struct TokenRange {
  int64_t first, end;  // of the segment; equal: none
};

// The tokens of a segment whose ranges touch a block.
MS_NSA_FN TokenRange TokensOfBlock(const DenseParams& params, const Segment& segment, int64_t block) {
  const AttentionParams& p = params.attention;
  const int64_t row = block * p.select_block_size, shift = PositionOf(params, SpanOf(segment), segment.index);
  const int64_t stop = Min<int64_t>(row + p.select_block_size, segment.kv_len);
  TokenRange range{0, segment.tokens};
  if (params.key_rule == kWindowRows) {
    range = {row - shift, stop + params.window_size - 1 - shift};
  } else {
    const int64_t ends_at = row * params.compress_stride + params.compress_block_size - 1;  // its first row
    if (p.sparse_mode != kAllRows) range.first = ends_at - shift;
    if (p.atten_mask_cols > 0) range.end = row < p.atten_mask_cols ? p.atten_mask_rows - segment.index : 0;
  }
  range.first = Max<int64_t>(range.first, 0);
  range.end = row < stop ? Min(range.end, segment.tokens) : 0;
  return {Min(range.first, range.end), range.end};
}

// As an index of the block-outer schedule has it: entry token * SlotStride + slot of a kv head's block. Flags
// gives Careful(kv head, block of the segment).
template <class Flags>
class RangedIndex {
 public:
  MS_NSA_FN RangedIndex(const DenseParams& params, const Flags& flags, const Segment& segment)
      : params_(params),
        flags_(flags),
        segment_(segment),
        blocks_(Max<int64_t>(segment.Blocks(params.attention), 1)) {}

  MS_NSA_FN int64_t Count(int64_t unit) const {
    const TokenRange tokens = TokensOfBlock(params_, segment_, unit % blocks_);
    return tokens.end - tokens.first;
  }
  MS_NSA_FN int32_t FirstWord(int64_t unit) const {
    return TokensOfBlock(params_, segment_, unit % blocks_).first * SlotStride(params_.attention) / 64;
  }
  MS_NSA_FN uint64_t Word(int64_t unit, int32_t number) const {
    const int64_t block = unit % blocks_, stride = SlotStride(params_.attention),
                  start = int64_t{number} * 64, slot = block % params_.attention.select_block_count;
    const TokenRange tokens = TokensOfBlock(params_, segment_, block);
    uint64_t word = 0;
    for (int64_t token = Max(start / stride, tokens.first); token < tokens.end && token * stride < start + 64;
         ++token) {
      const int64_t bit = token * stride + slot - start;
      if (bit >= 0 && bit < 64) word |= uint64_t{1} << bit;
    }
    return word;
  }

  // Tokens that see different parts of the block share a tile, unless what they do not see could hurt them.
  MS_NSA_FN bool Mixes(int64_t unit) const {
    return !flags_.Careful(unit / blocks_, segment_, unit % blocks_);
  }

 private:
  const DenseParams& params_;
  const Flags& flags_;
  const Segment& segment_;
  int64_t blocks_;
};

// As VisibleOf: of rows [start, start + whole); hidden are those before the range too. Mask gives
// Dropped(index, key row).
template <class Mask>
MS_NSA_FN VisibleRows VisibleInRange(const DenseParams& params, const Mask& mask, const Segment& segment,
                                     int64_t token, int64_t start, int64_t whole) {
  const KeyRange range = SeenBy(params, SpanOf(segment), segment.index + token);
  const int64_t first = Max<int64_t>(range.first - start, 0), end = Min(range.end - start, whole);
  if (first >= end) return {0, 0};
  uint64_t hidden = first > 0 ? ~uint64_t{0} >> (64 - first) : 0;
  if (params.attention.atten_mask_cols == 0) return {static_cast<int32_t>(end), hidden};
  VisibleRows visible{0, 0};
  for (int64_t row = first; row < end; ++row) {
    if (mask.Dropped(segment.index + token, start + row)) {
      hidden |= uint64_t{1} << row;
    } else {
      visible = {static_cast<int32_t>(row + 1), hidden};
    }
  }
  return visible;
}

// The rows that a token sees, as runs of rows of key and value.
template <class Mask>
class RangedRows {
 public:
  MS_NSA_FN RangedRows(const DenseParams& params, const Mask& mask, const Segment& segment, int64_t token)
      : params_(params),
        mask_(mask),
        index_(segment.index + token),
        kv_start_(segment.kv_start),
        range_(SeenBy(params, SpanOf(segment), index_)) {}

  // The next run, at most `limit` (> 0) rows of it.
  MS_NSA_FN RowRun Next(int64_t limit) {
    while (range_.rows() > 0 && Dropped()) ++range_.first;
    const int64_t first = range_.first;
    while (range_.rows() > 0 && range_.first - first < limit && !Dropped()) ++range_.first;
    return {kv_start_ + first, range_.first - first};
  }

 private:
  MS_NSA_FN bool Dropped() const {
    return params_.attention.atten_mask_cols > 0 && mask_.Dropped(index_, range_.first);
  }

  const DenseParams& params_;
  const Mask& mask_;
  int64_t index_, kv_start_;
  KeyRange range_;
};

}  // namespace ms_nsa
