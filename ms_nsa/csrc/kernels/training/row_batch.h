// SPDX-License-Identifier: Apache-2.0
// The query rows (token x group) that use one key tile, a bounded number at a time.
#pragma once

#include "inverse_index.h"

namespace ms_nsa {
namespace {

// Keys [first_key, first_key + keys) of a sequence; keys <= kKeyTile.
struct KeyTile {
  int64_t first_key, keys;
};

template <int kRows>
struct RowBatch {
  int64_t count;
  bool all_visible;                 // every row sees every key of the tile
  int64_t row[kRows];               // token of the chunk * group + query head of the group
  uint64_t visible[kRows];          // never 0
  bool repeated;                    // some row's token lists the block more than once
  float listed[kRows];              // how often the token lists the block: a factor of the row's exponentials
  const InverseIndex::Entry* next;  // tokens after the batch's
  int64_t later;                    // number of those
};

template <class F>
inline void ForEachKeyTile(int64_t block, int64_t block_size, int64_t kv_len, F f) {
  const int64_t end = Min((block + 1) * block_size, kv_len);
  for (int64_t key = block * block_size; key < end; key += kKeyTile)
    f(KeyTile{key, Min(kKeyTile, end - key)});
}

// Calls f(batch) until every row that sees a key of the tile has been in one batch.
template <int kRows, class F>
inline void ForEachBatch(const PackedAttentionInputs& in, const ChunkList::Item& chunk,
                         const InverseIndex& index, int64_t block, const KeyTile& tile,
                         RowBatch<kRows>& batch, F f) {
  const int64_t group = in.n1 / in.n2;
  const uint64_t all = LowBits(tile.keys);
  batch.count = 0;
  batch.all_visible = true;
  batch.repeated = false;
  const InverseIndex::Entry* entries = index.entries(block);
  const int64_t count = index.count(block);
  for (int64_t e = 0; e < count; ++e) {
    const int64_t s = chunk.first_token + entries[e].token;
    const int64_t limit = VisibleLimit(in, chunk.seq, s);
    const uint64_t visible = VisibleKeys(in, limit, s, tile.first_key, tile.keys);
    if (visible == 0) continue;
    for (int64_t g = 0; g < group; ++g) {
      batch.row[batch.count] = entries[e].token * group + g;
      batch.visible[batch.count] = visible;
      batch.listed[batch.count] = static_cast<float>(entries[e].count);
      batch.repeated = batch.repeated || entries[e].count > 1;
      batch.all_visible = batch.all_visible && visible == all;
      if (++batch.count < kRows) continue;
      batch.next = entries + e + 1;
      batch.later = count - e - 1;
      f(batch);
      batch.count = 0;
      batch.all_visible = true;
      batch.repeated = false;
    }
  }
  batch.later = 0;
  if (batch.count > 0) f(batch);
}

}  // namespace
}  // namespace ms_nsa
