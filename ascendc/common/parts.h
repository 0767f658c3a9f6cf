// SPDX-License-Identifier: Apache-2.0
// The work of one core: parts of units (a token and a kv head), and the pipeline steps of each part.
#pragma once

#include "core_split.h"
#include "row_walk.h"

namespace ms_nsa {

struct Part {
  Token token;
  int32_t head;  // kv head
  Unit unit;
  int64_t first_row, last_row;  // of the rows that the token sees through this head
  bool starts, ends;            // holds the first, the last piece of the unit
};

// Token rows [first, end).
struct TokenRange {
  int64_t first, end;
};

// Source as in row_walk.h; its Tokens is the walk over the token rows, with the lengths that this wants.
template <class Source>
class PartWalk {
 public:
  MS_NSA_FN PartWalk(const AttentionParams& params, const Source& source, int64_t core, int64_t cores,
                     const TokenRange& range)
      : params_(params), source_(source), tokens_(params, source), core_(core), cores_(cores), range_(range) {
    while (!tokens_.Done() && (*tokens_).row < range.first) tokens_.Advance();
    for (typename Source::Tokens all = tokens_; !Ended(all); all.Advance()) {
      total_ += params.kv_heads * UnitOf(*all).cost;
    }
    begin_ = Quota(total_, core, cores);
    end_ = Quota(total_, core + 1, cores);
    for (; !Ended(tokens_); tokens_.Advance()) {
      const int64_t cost = params.kv_heads * UnitOf(*tokens_).cost;
      if (start_ + cost > begin_) break;
      start_ += cost;
    }
  }

  MS_NSA_FN bool Next(Part& part) {
    while (!Ended(tokens_) && start_ < end_) {
      const Unit unit = UnitOf(*tokens_);
      const int64_t first = PieceAt(begin_, unit), last = PieceAt(end_, unit);
      if (first < last) part = MakePart(unit, first, last);
      NextUnit(unit);
      if (first < last) return true;
    }
    return false;
  }

  // The first core from `core` on that holds a later part of the unit; -1: none.
  MS_NSA_FN int64_t Follower(const Unit& unit, int64_t core) const {
    for (; core < cores_ && Quota(total_, core, cores_) < unit.start + unit.cost; ++core) {
      const int64_t first = PieceAt(Quota(total_, core, cores_), unit);
      if (first < PieceAt(Quota(total_, core + 1, cores_), unit)) return core;
    }
    return -1;
  }

  MS_NSA_FN int64_t core() const { return core_; }

 private:
  MS_NSA_FN bool Ended(const typename Source::Tokens& tokens) const {
    return tokens.Done() || (*tokens).row >= range_.end;
  }

  MS_NSA_FN Unit UnitOf(const Token& token) const {
    if constexpr (kSeesRange<Source>) {
      const auto range = source_.RangeOf(token);
      return MakeUnit(start_, range.end - range.first);
    }
    const int64_t selected = int64_t{params_.select_block_count} * params_.select_block_size;
    return MakeUnit(start_, Min(selected, token.visible));
  }

  MS_NSA_FN Part MakePart(const Unit& unit, int64_t first, int64_t last) const {
    RowWalk<Source> rows(params_, source_, *tokens_, head_);
    const int64_t all = rows.Skip(kNoLimit);
    const int64_t first_row = PieceRow(all, first, unit), last_row = PieceRow(all, last, unit);
    return {*tokens_, head_, unit, first_row, last_row, first == 0, last == unit.pieces};
  }

  MS_NSA_FN void NextUnit(const Unit& unit) {
    start_ += unit.cost;
    if (++head_ < params_.kv_heads) return;
    head_ = 0;
    tokens_.Advance();
  }

  static constexpr int64_t kNoLimit = int64_t{1} << 62;

  const AttentionParams& params_;
  const Source& source_;
  typename Source::Tokens tokens_;
  int64_t core_, cores_;
  TokenRange range_;
  int64_t total_ = 0, begin_ = 0, end_ = 0;
  int64_t start_ = 0;  // of the unit at hand
  int32_t head_ = 0;
};

struct Step {
  Part part;
  int64_t ordinal;      // among the steps that have rows: which of two buffers it uses
  int64_t part_number;  // likewise for what lives as long as a part
  int32_t rows;         // 0 only in a part without rows
  bool first, last;     // of its part
  int64_t row;          // first row, counted like those of its part
};

// The parts of a core cut into steps of at most chunk_rows rows. A part without rows is one step.
template <class Source>
class StepWalk {
 public:
  MS_NSA_FN StepWalk(const AttentionParams& params, const Source& source, int64_t core, int64_t cores)
      : StepWalk(params, source, core, cores, {0, params.tokens}) {}
  MS_NSA_FN StepWalk(const AttentionParams& params, const Source& source, int64_t core, int64_t cores,
                     const TokenRange& range)
      : parts_(params, source, core, cores, range), chunk_(params.chunk_rows) {}

  MS_NSA_FN bool Next(Step& step) {
    const bool first = row_ >= part_.last_row;
    if (first) {
      if (!parts_.Next(part_)) return false;
      row_ = part_.first_row;
      ++part_number_;
    }
    const int64_t rows = Min<int64_t>(part_.last_row - row_, chunk_);
    row_ += rows;
    step = {part_,      ordinal_, part_number_, static_cast<int32_t>(rows), first, row_ >= part_.last_row,
            row_ - rows};
    if (rows > 0) ++ordinal_;
    return true;
  }

  MS_NSA_FN const PartWalk<Source>& parts() const { return parts_; }

 private:
  PartWalk<Source> parts_;
  Part part_{};
  int64_t chunk_;
  int64_t row_ = 0, ordinal_ = 0, part_number_ = -1;
};

}  // namespace ms_nsa
