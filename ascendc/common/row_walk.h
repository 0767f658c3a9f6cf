// SPDX-License-Identifier: Apache-2.0
// Iterates over the kv rows that one token sees through one kv head, as runs that are contiguous in the
// cache.
#pragma once

#include "attention_params.h"
#include "integers.h"
#include "token.h"

namespace ms_nsa {

struct RowRun {
  int64_t cache_row;  // of key and value: paged, page * page_block_size + row inside the page
  int64_t rows;       // 0: the walk is at its end
};

// Whether a token sees one range of rows, which the source gives as RangeOf(token), and not selected blocks.
template <class Source>
constexpr bool kSeesRange = false;

// Absent blocks, rows behind the visible length, dropped rows and rows on pages outside the cache never show:
// what the walk yields is exactly what takes part, so that nothing behind it needs a mask.
// Source gives Index(token row, kv head, slot) and Dropped(mask row, column), and if its kPaged is true
// Page(sequence, slot).
template <class Source>
class RowWalk {
 public:
  MS_NSA_FN RowWalk(const AttentionParams& params, const Source& source, const Token& token, int32_t head)
      : params_(&params), source_(&source), token_(token), head_(head) {
    if (!params.token_mask) return;
    mask_start_ = token.new_start;
    mask_row_ += token.sequence * params.atten_mask_rows;
  }

  // The next run, at most `limit` (> 0) rows of it.
  MS_NSA_FN RowRun Next(int64_t limit) {
    while (row_ < end_ || NextBlock()) {
      int64_t rows = end_ - row_;
      const int64_t offset = FindPage(rows);
      if (offset == kNoPage) {
        row_ += rows;
        continue;
      }
      if (params_->atten_mask_cols) rows -= CountWhile(true, rows);
      const RowRun run{row_ + offset, Min(rows, limit)};
      const int64_t taken = params_->atten_mask_cols ? CountWhile(false, run.rows) : Take(run.rows);
      if (taken > 0) return {run.cache_row, taken};
    }
    return {0, 0};
  }

  // Goes `rows` rows further; returns how many there were.
  MS_NSA_FN int64_t Skip(int64_t rows) {
    int64_t done = 0;
    while (done < rows) {
      const RowRun run = Next(rows - done);
      if (run.rows == 0) break;
      done += run.rows;
    }
    return done;
  }

 private:
  MS_NSA_FN bool NextBlock() {
    if constexpr (kSeesRange<Source>) return EnterRange();
    while (slot_ < params_->select_block_count) {
      const int64_t index = source_->Index(token_.row, head_, slot_++);
      row_ = index * params_->select_block_size;
      end_ = Min(row_ + params_->select_block_size, token_.visible);
      if (index >= 0 && row_ < end_) return true;
    }
    row_ = end_ = 0;
    return false;
  }

  MS_NSA_FN bool EnterRange() {
    if constexpr (kSeesRange<Source>) {
      if (slot_++ > 0) return false;
      const auto range = source_->RangeOf(token_);
      row_ = range.first;
      end_ = Max(range.end, range.first);
    }
    return row_ < end_;
  }

  // From rows of the sequence to rows of the cache: what to add to row_, good for the next `rows` rows, which
  // are cut at the end of the page.
  MS_NSA_FN int64_t FindPage(int64_t& rows) const {
    if constexpr (!Source::kPaged) {
      return token_.kv_start;
    } else {
      const int64_t slot = row_ / params_->page_block_size, first = slot * params_->page_block_size;
      rows = Min(rows, first + params_->page_block_size - row_);
      if (slot >= params_->max_blocks) return kNoPage;
      const int64_t page = source_->Page(token_.sequence, slot);
      return page < 0 || page >= params_->num_blocks ? kNoPage : page * params_->page_block_size - first;
    }
  }

  // Passes rows while their being dropped is `dropped`, at most `limit`.
  MS_NSA_FN int64_t CountWhile(bool dropped, int64_t limit) {
    int64_t count = 0;
    while (count < limit && Dropped() == dropped) {
      ++count;
      ++row_;
    }
    return count;
  }

  // What a mask over new tokens has no column for is seen.
  MS_NSA_FN bool Dropped() const {
    return row_ >= mask_start_ && source_->Dropped(mask_row_, row_ - mask_start_);
  }

  MS_NSA_FN int64_t Take(int64_t rows) {
    row_ += rows;
    return rows;
  }

  static constexpr int64_t kNoPage = INT64_MIN;

  const AttentionParams* params_;
  const Source* source_;
  Token token_;
  int32_t head_;
  int32_t slot_ = 0;
  int64_t row_ = 0, end_ = 0;  // of the block at hand
  int64_t mask_row_ = token_.index,
          mask_start_ = 0;  // of atten_mask: the token's, kv row of its first column
};

}  // namespace ms_nsa
