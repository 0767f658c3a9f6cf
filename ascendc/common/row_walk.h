// Walks the kv rows that one token sees through one kv head, as runs that lie together in the cache.
#pragma once

#include "infer_params.h"
#include "integers.h"
#include "tokens.h"

namespace ms_nsa {

struct RowRun {
  int64_t cache_row;  // page * page_block_size + row inside the page
  int64_t rows;       // 0: the walk is at its end
};

// Absent blocks, rows behind the visible length, dropped rows and rows on pages outside the cache never show:
// what the walk yields is exactly what takes part, so that nothing behind it needs a mask.
// Source gives Index(token row, kv head, slot), Page(sequence, slot) and Dropped(index, kv row).
template <class Source>
class RowWalk {
 public:
  MS_NSA_FN RowWalk(const InferParams& params, const Source& source, const Token& token, int32_t head)
      : params_(&params), source_(&source), token_(token), head_(head) {}

  // The next run, at most `limit` (> 0) rows of it.
  MS_NSA_FN RowRun Next(int64_t limit) {
    while (row_ < end_ || NextBlock()) {
      const int64_t page_row = row_ % params_->page_block_size;
      const int64_t on_page = Min(end_ - row_, params_->page_block_size - page_row);
      const int64_t page = PageOf(row_ / params_->page_block_size);
      if (page < 0) {
        row_ += on_page;
        continue;
      }
      const int64_t hidden = params_->atten_mask_cols ? CountWhile(true, on_page) : 0;
      const int64_t shown = Min(on_page - hidden, limit);
      const int64_t rows = params_->atten_mask_cols ? CountWhile(false, shown) : Take(shown);
      if (rows > 0) return {page * params_->page_block_size + page_row + hidden, rows};
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
    while (slot_ < params_->select_block_count) {
      const int64_t index = source_->Index(token_.row, head_, slot_++);
      row_ = index * params_->select_block_size;
      end_ = Min(row_ + params_->select_block_size, token_.visible);
      if (index >= 0 && row_ < end_) return true;
    }
    row_ = end_ = 0;
    return false;
  }

  MS_NSA_FN int64_t PageOf(int64_t slot) const {
    if (slot >= params_->max_blocks) return -1;
    const int64_t page = source_->Page(token_.sequence, slot);
    return page < params_->num_blocks ? page : -1;
  }

  // Passes rows while their being dropped is `dropped`, at most `limit`.
  MS_NSA_FN int64_t CountWhile(bool dropped, int64_t limit) {
    int64_t count = 0;
    while (count < limit && source_->Dropped(token_.index, row_) == dropped) {
      ++count;
      ++row_;
    }
    return count;
  }

  MS_NSA_FN int64_t Take(int64_t rows) {
    row_ += rows;
    return rows;
  }

  const InferParams* params_;
  const Source* source_;
  Token token_;
  int32_t head_;
  int32_t slot_ = 0;
  int64_t row_ = 0, end_ = 0;  // of the block at hand
};

}  // namespace ms_nsa
