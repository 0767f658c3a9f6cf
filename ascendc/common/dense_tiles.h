// SPDX-License-Identifier: Apache-2.0
// The tiles of the dense schedule that one core does: tokens of one sequence and kv head that share a range
// of key rows, and the pipeline steps of that range. A tile is never cut, so that results do not depend on
// the cores.
#pragma once

#include "core_split.h"
#include "dense_ranges.h"

namespace ms_nsa {

struct DenseTile {
  Span span;
  int64_t index;  // first token inside its sequence
  int32_t tokens;
  int32_t head;    // kv head
  int64_t number;  // among all tiles, of which a tile made anew keeps the one that it is part of
  KeyRange range;  // of its tokens together
};

MS_NSA_FN DenseTile TileAt(const DenseParams& params, const Span& span, int64_t index, int64_t tokens,
                           int32_t head, int64_t number) {
  return {span, index,  static_cast<int32_t>(tokens),
          head, number, SeenByAny(params, span, index, index + tokens)};
}

// Source gives QLen and KvLen, the prefix sums. Tiles are laid out on a line of costs: sequence by sequence,
// the kv heads of the same tokens beside one another.
template <class Source>
class DenseTileWalk {
 public:
  MS_NSA_FN DenseTileWalk(const DenseParams& params, const Source& source, int64_t core, int64_t cores)
      : params_(params), spans_(params, source) {
    int64_t total = 0;
    Span span;
    for (SpanWalk<Source> all(params, source); all.Next(span);) {
      for (int64_t index = 0; index < span.q_len; index += params.tile_tokens)
        total += CostOf(span, index) * params.attention.kv_heads;
    }
    begin_ = Quota(total, core, cores);
    end_ = Quota(total, core + 1, cores);
  }

  // A tile belongs to the core that owns the middle of its cost.
  MS_NSA_FN bool Next(DenseTile& tile) {
    while (index_ < span_.q_len || NextSpan()) {
      const int64_t cost = CostOf(span_, index_), middle = start_ + cost / 2;
      if (middle >= end_) return false;
      const int64_t index = index_;
      const int32_t head = head_;
      const int64_t number = number_;
      Advance(cost);
      if (middle < begin_) continue;
      tile = TileAt(params_, span_, index, TokensAt(index), head, number);
      return true;
    }
    return false;
  }

 private:
  // What a tile costs beside its rows: queries, results, handshakes.
  static constexpr int64_t kTileCost = 64;

  MS_NSA_FN int64_t TokensAt(int64_t index) const {
    return Min<int64_t>(params_.tile_tokens, span_.q_len - index);
  }
  MS_NSA_FN int64_t CostOf(const Span& span, int64_t index) const {
    const int64_t end = Min<int64_t>(index + params_.tile_tokens, span.q_len);
    return SeenByAny(params_, span, index, end).rows() + kTileCost;
  }
  MS_NSA_FN bool NextSpan() {
    index_ = span_.q_len = 0;
    while (span_.q_len == 0 && spans_.Next(span_)) {
    }
    return span_.q_len > 0;
  }
  MS_NSA_FN void Advance(int64_t cost) {
    start_ += cost;
    ++number_;
    if (++head_ < params_.attention.kv_heads) return;
    head_ = 0;
    index_ += params_.tile_tokens;
  }

  const DenseParams& params_;
  SpanWalk<Source> spans_;
  Span span_{};
  int64_t begin_, end_, start_ = 0, index_ = 0, number_ = 0;
  int32_t head_ = 0;
};

struct DenseStep {
  DenseTile tile;
  int64_t row;           // of the sequence: first key row
  int32_t rows;          // 0: a tile that sees nothing
  int32_t number;        // in its tile
  int64_t ordinal;       // among the steps that have rows: which of several buffers it uses
  int64_t tile_ordinal;  // likewise for what lives as long as a tile
  bool first, last;      // of its tile
};

// Key rows of each step of a tile but the last. Where blocks are chosen all steps of the operator are equal;
// else those of a tile are about equal.
MS_NSA_FN int32_t StepRows(const DenseParams& params, const KeyRange& range) {
  const int32_t most = params.attention.chunk_rows;
  if (params.step_blocks > 0 || range.rows() == 0) return most;
  const int64_t steps = CeilDiv<int64_t>(range.rows(), most);
  return static_cast<int32_t>(RoundUp<int64_t>(CeilDiv(range.rows(), steps), 16));
}

// Tiles gives Next(tile).
template <class Tiles>
class DenseStepWalk {
 public:
  MS_NSA_FN DenseStepWalk(const DenseParams& params, Tiles& tiles) : params_(params), tiles_(tiles) {}

  MS_NSA_FN bool Next(DenseStep& step) {
    const bool first = row_ >= tile_.range.end;
    if (first) {
      if (!tiles_.Next(tile_)) return false;
      row_ = tile_.range.first;
      number_ = 0;
      if (tile_.range.rows() > 0) ++tile_ordinal_;
    }
    const int64_t rows = Min<int64_t>(tile_.range.end - row_, StepRows(params_, tile_.range));
    step = {tile_, row_, static_cast<int32_t>(rows), number_++, ordinal_, tile_ordinal_, first, false};
    row_ += rows;
    step.last = row_ >= tile_.range.end;
    if (rows > 0) ++ordinal_;
    return true;
  }

 private:
  const DenseParams& params_;
  Tiles& tiles_;
  DenseTile tile_{};
  int64_t row_ = 0, ordinal_ = 0, tile_ordinal_ = -1;
  int32_t number_ = 0;
};

}  // namespace ms_nsa
