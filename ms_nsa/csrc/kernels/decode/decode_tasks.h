// SPDX-License-Identifier: Apache-2.0
// Divides a decode call into items (one query token at one kv head) and items into parts of the selected
// blocks. Whether a task is several items, an item or a part affects only speed, not results.
#pragma once

#include "../../params.h"
#include "../buffer.h"
#include "../sequences.h"
#include "../tiling.h"
#include "../windows.h"

namespace ms_nsa {
namespace {

struct DecodeTask {
  int64_t sequence, token;  // the token counts from the start of its sequence
  int64_t head, heads;      // kv heads [head, head + heads), one where tasks are parts
  int64_t item, part;       // part 0 where the task is whole items, whose number is of no use then
};

// Row of the task's token in query, topk_indices and attention_out.
inline int64_t TokenRow(const PagedAttentionParams& p, const DecodeTask& task) {
  return p.query_start[task.sequence] + task.token;
}

// The position of the token among the raw rows of its sequence; negative if the sequence is too short.
inline int64_t PositionOf(const PagedAttentionParams& p, const DecodeTask& task) {
  return p.kv_len[task.sequence] - p.q_len[task.sequence] + task.token;
}

// The token sees rows [VisibleRowsFrom, VisibleRows) of its sequence.
inline int64_t VisibleRows(const PagedAttentionParams& p, const DecodeTask& task) {
  const int64_t limit = Max(0, PositionOf(p, task) + 1);
  if (p.key_rule == KeyRule::kCompressed) return WindowCount(limit, p.compress_block_size, p.compress_stride);
  return p.sparse_mode == SparseMode::kLeftUpCausal ? Min(limit, task.token + 1) : limit;
}
inline int64_t VisibleRowsFrom(const PagedAttentionParams& p, int64_t limit) {
  return p.key_rule == KeyRule::kWindow ? Max(0, limit - p.window_size) : 0;
}

// Number of parts of a token whose `count` selected blocks have this many rows.
inline int64_t PartsOf(int64_t count, int64_t rows) {
  return Max(1, Min(Min(count, kMaxParts), rows / kMinPartRows));
}

class DecodeTasks {
 public:
  explicit DecodeTasks(const PagedAttentionParams& p) : p_(p), start_(p.batch + 1) {
    start_[0] = 0;
    for (int64_t b = 0; b < p.batch; ++b) {
      start_[b + 1] = start_[b] + p.q_len[b];
      max_kv_len_ = Max(max_kv_len_, p.kv_len[b]);
    }
  }

  // Makes tasks from parts if there are too few items for the number of threads, and from several kv heads if
  // there are enough and all of them see the same rows. tile_bytes: a tile's, of one kv head.
  void ShareOut(int64_t threads, int64_t tile_bytes) {
    const int64_t rows = p_.select_block_count * Min(p_.select_block_size, max_kv_len_);
    if (threads > 1 && items() < kWholeItems * threads) max_parts_ = PartsOf(p_.select_block_count, rows);
    if (max_parts_ > 1 || p_.key_rule == KeyRule::kSelected || p_.heads_first) return;
    const int64_t shares = CeilDiv(p_.n2, Max(1, kSharedTileBytes / tile_bytes));
    if (tokens() * shares >= kWholeTokens * threads) shares_ = shares;
  }

  int64_t items() const { return tokens() * p_.n2; }
  int64_t most_heads() const { return CeilDiv(p_.n2, shares_); }  // kv heads of one task
  int64_t max_parts() const { return max_parts_; }  // of one item; 1 where tasks are whole items
  int64_t size() const { return tokens() * shares_ * max_parts_; }

  // Upper bound of the bytes read from the cache.
  int64_t CacheBytes(int64_t element_bytes) const {
    const int64_t rows = Min(p_.select_block_size * p_.select_block_count, max_kv_len_);
    return items() * rows * (p_.d1 + p_.d2) * element_bytes;
  }

  // Tokens of one sequence follow one another for the same head: they tend to select the same blocks. Then
  // come the sequence's other heads, which share its pages.
  DecodeTask At(int64_t i) const {
    const int64_t item = i / max_parts_, b = EntryOf(start_.get(), p_.batch, item / shares_);
    const int64_t q_len = p_.q_len[b], at = item - start_[b] * shares_, share = at / q_len;
    const int64_t head = share * p_.n2 / shares_, end = (share + 1) * p_.n2 / shares_;
    return {b, at % q_len, head, end - head, item, i % max_parts_};
  }

 private:
  int64_t tokens() const { return start_[p_.batch]; }

  const PagedAttentionParams& p_;
  int64_t max_parts_ = 1, max_kv_len_ = 0;
  int64_t shares_ = p_.n2;  // of a token's kv heads
  Buffer<int64_t> start_;
};

}  // namespace
}  // namespace ms_nsa
