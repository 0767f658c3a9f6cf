// SPDX-License-Identifier: Apache-2.0
// Paged lookup: the cache rows that one query token sees, in ascending order, a tile at a time.
#pragma once

#include "../heap_sort.h"
#include "decode_tasks.h"

namespace ms_nsa {
namespace {

// Rows of one task that are processed together. They never include hidden rows, so nothing has to be masked
// later and the contents of hidden rows are never read.
template <class S>
struct RowTile {
  DecodeTask task;
  bool empty;        // there was no task left
  bool first, last;  // of a part
  bool ends_task;    // besides, there is no later part in it
  int64_t count;
  int64_t first_row;  // of its sequence, where rows follow one another
  const S* key[kDecodeRows];
  const S* value[kDecodeRows];
};

// Iterates over the selected blocks of one item, or of some of its parts.
template <class S>
class PagedRows {
 public:
  PagedRows(Arena& arena, const PagedAttentionParams& p)
      : p_(p), block_(arena.Take<int32_t>(p.select_block_count)) {}

  void Start(const DecodeTask& task) {
    head_ = task.head;
    limit_ = VisibleRows(p_, task);
    from_ = VisibleRowsFrom(p_, limit_);
    drop_ = p_.atten_mask == nullptr ? nullptr : MaskRow(task);
    table_ = p_.block_table + task.sequence * p_.max_blocks;
    count_ = p_.key_rule == KeyRule::kSelected ? SortBlocks(TokenRow(p_, task)) : AllBlocks();
    // The parts depend only on the present blocks: absent slots must not move their borders.
    parts_ = PartsOf(count_, count_ * Min(p_.select_block_size, limit_));
  }

  int64_t parts() const { return parts_; }

  // The rows are now those of parts [first, first + count); none where there is no such part.
  void Select(int64_t first, int64_t count) {
    next_ = Min(first, parts_) * count_ / parts_;
    end_ = Min(first + count, parts_) * count_ / parts_;
    row_ = row_end_ = 0;
    FindRow();
  }

  bool done() const { return row_ == row_end_; }

  void Fill(RowTile<S>& tile, int64_t max_rows) {
    tile.first_row = row_;
    while (tile.count < max_rows && !done()) {
      TakeFromPage(tile, max_rows);
      FindRow();
    }
  }

 private:
  // The token's row of the mask, whose first column is row first_drop_ of the sequence.
  const uint8_t* MaskRow(const DecodeTask& task) {
    const bool shared = p_.atten_mask_rows == 0;
    first_drop_ = shared ? 0 : p_.kv_len[task.sequence] - p_.q_len[task.sequence];
    const int64_t row = (shared ? 0 : task.sequence * p_.atten_mask_rows) + task.token;
    return p_.atten_mask + row * p_.atten_mask_cols;
  }

  bool Dropped(int64_t row) const {
    return drop_ != nullptr && row >= first_drop_ && drop_[row - first_drop_] != 0;
  }

  int64_t AllBlocks() {
    const int64_t first = from_ / p_.select_block_size, end = CeilDiv(limit_, p_.select_block_size);
    for (int64_t block = first; block < end; ++block) block_[block - first] = static_cast<int32_t>(block);
    return end - first;
  }

  // Ascending, so that the order of slots cannot matter. A block listed twice is simply walked through twice.
  int64_t SortBlocks(int64_t token_row) {
    const int32_t* slot = p_.topk_indices + (token_row * p_.n2 + head_) * p_.select_block_count;
    int64_t count = 0;
    bool ascending = true;
    for (int64_t i = 0; i < p_.select_block_count; ++i) {
      if (slot[i] < 0 || slot[i] * p_.select_block_size >= limit_) continue;
      ascending = ascending && (count == 0 || block_[count - 1] <= slot[i]);
      block_[count++] = slot[i];
    }
    if (!ascending) HeapSort(block_, count, [](int32_t a, int32_t b) { return a < b; });
    return count;
  }

  // Moves to the next visible row. Block table entries are read for visible rows only.
  void FindRow() {
    for (;;) {
      while (row_ < row_end_ && Dropped(row_)) ++row_;
      if (row_ < row_end_ || next_ == end_) return;
      const int64_t first = block_[next_++] * p_.select_block_size;
      row_ = Max(first, from_);
      row_end_ = Min(first + p_.select_block_size, limit_);
    }
  }

  void TakeFromPage(RowTile<S>& tile, int64_t max_rows) {
    const int64_t in_page = row_ % p_.page_block_size;
    const int64_t first_row = table_[row_ / p_.page_block_size] * p_.page_block_size * p_.n2;
    const int64_t row = p_.heads_first ? first_row + head_ * p_.page_block_size + in_page
                                       : first_row + in_page * p_.n2 + head_;
    const int64_t step = p_.heads_first ? 1 : p_.n2;
    const int64_t end = Min(row_end_, row_ - in_page + p_.page_block_size);
    const S* key = static_cast<const S*>(p_.key) + row * p_.d1;
    const S* value = static_cast<const S*>(p_.value) + row * p_.d2;
    for (; row_ < end && tile.count < max_rows; ++row_, key += step * p_.d1, value += step * p_.d2) {
      if (Dropped(row_)) continue;
      tile.key[tile.count] = key;
      tile.value[tile.count++] = value;
    }
  }

  const PagedAttentionParams& p_;
  int32_t* block_;  // visible selected blocks, ascending
  int64_t parts_ = 0;
  int64_t head_, from_, limit_, count_, next_, end_, row_, row_end_;
  int64_t first_drop_ = 0;
  const uint8_t* drop_;
  const int32_t* table_;
};

}  // namespace
}  // namespace ms_nsa
