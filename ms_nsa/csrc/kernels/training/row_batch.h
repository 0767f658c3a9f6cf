// SPDX-License-Identifier: Apache-2.0
// The query rows (token x group) that use one key tile, a bounded number at a time.
#pragma once

#include "../gemm_tile.h"
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
  uint64_t seen;                    // keys that some row sees
  const InverseIndex::Entry* next;  // tokens after the batch's
  int64_t later;                    // number of those

  void Clear() {
    count = 0;
    all_visible = true;
    repeated = false;
    seen = 0;
  }

  void Add(int64_t row_number, uint64_t visible_keys, uint64_t all_keys, int32_t times_listed) {
    row[count] = row_number;
    visible[count] = visible_keys;
    listed[count] = static_cast<float>(times_listed);
    repeated = repeated || times_listed > 1;
    all_visible = all_visible && visible_keys == all_keys;
    seen |= visible_keys;
    ++count;
  }
};

// Vectors [first, end) of the tile's keys have every key that a batch sees: pairs of vectors, since a
// product of single ones takes as long. At the ends of a window half of a tile is seen by nobody.
struct SeenVectors {
  int64_t first, end;
};

template <class V, int kRows>
inline SeenVectors SeenBy(const RowBatch<kRows>& batch, int64_t keys) {
  constexpr int64_t kPairKeys = 2 * V::kLanes;
  const int64_t lowest = __builtin_ctzll(batch.seen), highest = 63 - __builtin_clzll(batch.seen);
  return {lowest / kPairKeys * 2, Min(highest / kPairKeys * 2 + 2, CeilDiv(keys, V::kLanes))};
}

// Keys as columns of a product, and as its depth.
template <class Dot>
inline PartOfB KeyColumns(const SeenVectors& seen, const PackedB<Dot>& keys) {
  return {0, keys.depth, seen.first, seen.end};
}
template <class Dot>
inline PartOfB KeySteps(const SeenVectors& seen, const PackedB<Dot>& rows) {
  constexpr int64_t kSteps = Dot::Vec::kLanes / Dot::kPair;
  return {seen.first * kSteps, Min(seen.end * kSteps, rows.depth), 0, rows.vectors};
}

// Calls f(first, end, visible) for runs of a batch's rows that see the same keys.
template <int kRows, class F>
inline void ForEachView(const RowBatch<kRows>& batch, F f) {
  for (int64_t first = 0, end; first < batch.count; first = end) {
    const uint64_t visible = batch.visible[first];
    for (end = first + 1; end < batch.count && batch.visible[end] == visible;) ++end;
    f(first, end, visible);
  }
}

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
  batch.Clear();
  const InverseIndex::Entry* entries = index.entries(block);
  const int64_t count = index.count(block);
  for (int64_t e = 0; e < count; ++e) {
    const int64_t s = chunk.first_token + entries[e].token;
    const int64_t limit = VisibleLimit(in, chunk.seq, s);
    const uint64_t visible = VisibleKeys(in, limit, s, tile.first_key, tile.keys);
    if (visible == 0) continue;
    for (int64_t g = 0; g < group; ++g) {
      batch.Add(entries[e].token * group + g, visible, all, entries[e].count);
      if (batch.count < kRows) continue;
      batch.next = entries + e + 1;
      batch.later = count - e - 1;
      f(batch);
      batch.Clear();
    }
  }
  batch.later = 0;
  if (batch.count > 0) f(batch);
}

}  // namespace
}  // namespace ms_nsa
