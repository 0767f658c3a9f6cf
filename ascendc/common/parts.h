// SPDX-License-Identifier: Apache-2.0
// The work of one core: parts of units (a token and a kv head), and the pipeline steps of each part.
#pragma once

#include "core_split.h"
#include "row_pieces.h"
#include "row_walk.h"

namespace ms_nsa {

struct Part {
  Token token;
  int32_t head;  // kv head
  Unit unit;
  int64_t rows;                 // that the token sees through this head
  int64_t first_row, last_row;  // of them
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
      : params_(params), source_(source), tokens_(params, source), cores_(cores), range_(range) {
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

  // Rows of the unit that are a core's.
  MS_NSA_FN RowRange RowsOf(const Part& part, int64_t core) const {
    const Unit& unit = part.unit;
    const int64_t first = PieceAt(Quota(total_, core, cores_), unit);
    const int64_t last = PieceAt(Quota(total_, core + 1, cores_), unit), piece = PieceRows(params_);
    return {PieceRow(part.rows, first, unit, piece), PieceRow(part.rows, last, unit, piece)};
  }

 private:
  MS_NSA_FN bool Ended(const typename Source::Tokens& tokens) const {
    return tokens.Done() || (*tokens).row >= range_.end;
  }

  MS_NSA_FN Unit UnitOf(const Token& token) const {
    if constexpr (kSeesRange<Source>) {
      const auto range = source_.RangeOf(token);
      return MakeUnit(start_, range.end - range.first, PieceRows(params_));
    }
    const int64_t selected = int64_t{params_.select_block_count} * params_.select_block_size;
    return MakeUnit(start_, Min(selected, token.visible), PieceRows(params_));
  }

  MS_NSA_FN Part MakePart(const Unit& unit, int64_t first, int64_t last) const {
    RowWalk<Source> rows(params_, source_, *tokens_, head_);
    const int64_t all = rows.Skip(kNoLimit), piece = PieceRows(params_);
    const int64_t first_row = PieceRow(all, first, unit, piece), last_row = PieceRow(all, last, unit, piece);
    return {*tokens_, head_, unit, all, first_row, last_row, first == 0, last == unit.pieces};
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
  int64_t cores_;
  TokenRange range_;
  int64_t total_ = 0, begin_ = 0, end_ = 0;
  int64_t start_ = 0;  // of the unit at hand
  int32_t head_ = 0;
};

struct Step {
  Part part;
  int64_t ordinal;         // among the steps that have rows: which of two buffers it uses
  int32_t rows;            // 0 only in a part without rows
  bool first, last;        // of its part
  int64_t row;             // first row, counted like those of its part
  int64_t bundle;          // of the unit
  int64_t bundle_ordinal;  // among those of which this core has rows: likewise which of two buffers
  bool whole;              // all rows of the bundle are in this part
  bool bundle_last;        // the part has no later rows of the bundle
};

// Pieces of a step, and where the first one is in its bundle.
MS_NSA_FN int32_t PiecesOf(const AttentionParams& p, const Step& step) {
  return CeilDiv(step.rows, PieceRows(p));
}
MS_NSA_FN int32_t PlaceOf(const AttentionParams& p, const Step& step) {
  return static_cast<int32_t>(step.row / PieceRows(p) % kBundlePieces);
}

// The parts of a core cut into steps: chunk_rows rows of the unit from a multiple of them on, which is one
// piece or two, as far as they are in the part. A part without rows is one step.
template <class Source>
class StepWalk {
 public:
  MS_NSA_FN StepWalk(const AttentionParams& params, const Source& source, int64_t core, int64_t cores)
      : StepWalk(params, source, core, cores, {0, params.tokens}) {}
  MS_NSA_FN StepWalk(const AttentionParams& params, const Source& source, int64_t core, int64_t cores,
                     const TokenRange& range)
      : params_(params), parts_(params, source, core, cores, range) {}

  MS_NSA_FN bool Next(Step& step) {
    const bool first = row_ >= part_.last_row;
    if (first) {
      if (!parts_.Next(part_)) return false;
      row_ = part_.first_row;
    }
    const int64_t row = row_, chunk = params_.chunk_rows, bundle = row / BundleRows(params_);
    const RowRange of_bundle = RowsOfBundle(params_, bundle, part_.rows);
    row_ = Min((row / chunk + 1) * chunk, part_.last_row);
    const bool last = row_ >= part_.last_row, whole = Holds({part_.first_row, part_.last_row}, of_bundle);
    if (row_ > row && (first || row == of_bundle.first)) ++bundle_ordinal_;
    step = {part_,           ordinal_, static_cast<int32_t>(row_ - row), first, last, row, bundle,
            bundle_ordinal_, whole,    last || row_ == of_bundle.end};
    if (step.rows > 0) ++ordinal_;
    return true;
  }

  MS_NSA_FN const PartWalk<Source>& parts() const { return parts_; }

 private:
  const AttentionParams& params_;
  PartWalk<Source> parts_;
  Part part_{};
  int64_t row_ = 0, ordinal_ = 0, bundle_ordinal_ = -1;
};

}  // namespace ms_nsa
