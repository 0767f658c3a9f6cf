// SPDX-License-Identifier: Apache-2.0
// From tokens' block lists, or the blocks of the keys that they see, to blocks' token lists: blocks
// ascending, tokens ascending in each, so that neither the order of slots nor absent slots can change a
// result. A block listed twice by a token is one entry with count 2.
#pragma once

#include "../visibility.h"

namespace ms_nsa {
namespace {

class InverseIndex {
 public:
  struct Entry {
    int32_t token;  // counted from the start of the chunk
    int32_t count;
  };

  InverseIndex(Arena& arena, int64_t max_blocks, int64_t max_entries)
      : start_(arena.Take<int32_t>(max_blocks + 1)),
        end_(arena.Take<int32_t>(max_blocks)),
        entries_(arena.Take<Entry>(max_entries)) {}

  // Blocks that begin beyond a token's visible limit are left out.
  void Build(const PackedAttentionInputs& in, const ChunkList::Item& chunk) {
    blocks_ = CeilDiv(chunk.seq.kv_len, in.select_block_size);
    for (int64_t b = 0; b <= blocks_; ++b) start_[b] = 0;
    ForEachPick(in, chunk, [this](int64_t, int32_t block) { ++start_[block + 1]; });
    for (int64_t b = 0; b < blocks_; ++b) {
      start_[b + 1] += start_[b];
      end_[b] = start_[b];
    }
    ForEachPick(in, chunk, [this](int64_t token, int32_t block) { Add(static_cast<int32_t>(token), block); });
  }

  // The first block from `block` on that some token selected, or blocks().
  int64_t Next(int64_t block) const {
    while (block < blocks_ && end_[block] == start_[block]) ++block;
    return block;
  }
  int64_t blocks() const { return blocks_; }
  int64_t count(int64_t block) const { return end_[block] - start_[block]; }
  const Entry* entries(int64_t block) const { return entries_ + start_[block]; }

  // Calls f(row) for every row that a token of the chunk sees, ascending, as often as its block is listed.
  // Slower than the batches: for what is rare.
  template <class F>
  void ForEachRow(const PackedAttentionInputs& in, const ChunkList::Item& chunk, int64_t token, F f) const {
    const int64_t s = chunk.first_token + token, limit = VisibleLimit(in, chunk.seq, s);
    for (int64_t block = Next(0); block < blocks_; block = Next(block + 1)) {
      const int32_t times = TimesListed(block, token);
      const int64_t first = block * in.select_block_size,
                    end = first + (times == 0 ? 0 : in.select_block_size);
      for (int64_t row = first; row < Min(end, limit); ++row) {
        if (VisibleKeys(in, limit, s, row, 1) == 0) continue;
        for (int32_t i = 0; i < times; ++i) f(row);
      }
    }
  }

 private:
  int32_t TimesListed(int64_t block, int64_t token) const {
    const Entry* entry = entries(block);
    int64_t low = 0, high = count(block);
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (entry[middle].token < token) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < count(block) && entry[low].token == token ? entry[low].count : 0;
  }

  template <class F>
  void ForEachPick(const PackedAttentionInputs& in, const ChunkList::Item& chunk, F f) const {
    for (int64_t i = 0; i < chunk.tokens; ++i) {
      const int64_t s = chunk.first_token + i, keys = VisibleLimit(in, chunk.seq, s);
      const int64_t limit = CeilDiv(keys, in.select_block_size);
      if (in.key_rule != KeyRule::kSelected) {
        for (int64_t b = VisibleFrom(in, keys) / in.select_block_size; b < limit; ++b)
          f(i, static_cast<int32_t>(b));
        continue;
      }
      const int32_t* picks =
          in.topk_indices + ((chunk.seq.q_start + s) * in.n2 + chunk.head) * in.select_block_count;
      for (int64_t slot = 0; slot < in.select_block_count; ++slot) {
        if (picks[slot] >= 0 && picks[slot] < limit) f(i, picks[slot]);
      }
    }
  }

  void Add(int32_t token, int32_t block) {
    int32_t& end = end_[block];
    if (end > start_[block] && entries_[end - 1].token == token) {
      ++entries_[end - 1].count;
    } else {
      entries_[end++] = {token, 1};
    }
  }

  int32_t* start_;
  int32_t* end_;
  Entry* entries_;
  int64_t blocks_ = 0;
};

}  // namespace
}  // namespace ms_nsa
