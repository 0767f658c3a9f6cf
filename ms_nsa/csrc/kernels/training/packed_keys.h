// SPDX-License-Identifier: Apache-2.0
// Compressed keys and values as operands of the matrix product. Every token reads them, so they are packed
// once for a call, not once for a tile of tokens.
#pragma once

#include "../pack.h"
#include "../sequences.h"
#include "../threads.h"

namespace ms_nsa {
namespace {

// The values of this many keys are one operand: their sums are loaded and stored once for all of them.
constexpr int64_t kValueTile = 2 * kKeyTile;

// The (sequence, kv head) pairs [first, end) of a call, whose operands are in memory together.
template <class Dot, class E>
class PackedKeys {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;

  PackedKeys(const PackedAttentionInputs& in, bool values, int64_t first, int64_t end)
      : in_(in), values_(values), first_(first), end_(end), start_(end - first + 1), tiles_(Place()) {}

  static int64_t Bytes(const PackedAttentionInputs& in, int64_t keys) {
    return Tiles(keys) * TileSize(in) * static_cast<int64_t>(sizeof(Operand));
  }

  void Pack(int64_t max_threads) const {
    const Team team(tiles_, max_threads);
    int64_t next_tile = 0;
    team.Run([&](int) {
      for (int64_t i; (i = TakeTask(&next_tile)) < tiles_;) PackTile(i);
    });
  }

  // Keys [tile * kKeyTile, ...).
  PackedB<Dot> Key(int64_t owner, int64_t tile) const {
    const int64_t keys = Min(kKeyTile, SequenceAt(in_, owner / in_.n2).kv_len - tile * kKeyTile);
    const int64_t of_pair = tile % 2 * PackedSize<Dot>(in_.d1, kKeyTile);
    return {Tile(owner, tile / 2) + of_pair, CeilDiv(in_.d1, Dot::kPair), CeilDiv(keys, V::kLanes)};
  }
  // Values [tile * kValueTile, ...).
  PackedB<Dot> Value(int64_t owner, int64_t tile) const {
    const int64_t keys = Min(kValueTile, SequenceAt(in_, owner / in_.n2).kv_len - tile * kValueTile);
    return {Tile(owner, tile) + ValuesAt(), CeilDiv(keys, Dot::kPair), CeilDiv(in_.d2, V::kLanes)};
  }
  bool ValuesAreFinite(int64_t owner, int64_t tile) const { return finite_[start_[owner - first_] + tile]; }

  // The keys of an owner from one of them on, and the values.
  const S* KeyRow(int64_t owner, int64_t key) const {
    return static_cast<const S*>(in_.key) + Row(owner, key) * in_.d1;
  }
  const S* ValueRow(int64_t owner, int64_t key) const {
    return static_cast<const S*>(in_.value) + Row(owner, key) * in_.d2;
  }

 private:
  static int64_t Tiles(int64_t keys) { return CeilDiv(keys, kValueTile); }
  static int64_t TileSize(const PackedAttentionInputs& in) {
    return 2 * PackedSize<Dot>(in.d1, kKeyTile) + PackedSize<Dot>(kValueTile, in.d2);
  }
  int64_t ValuesAt() const { return 2 * PackedSize<Dot>(in_.d1, kKeyTile); }

  int64_t Place() const {
    start_[0] = 0;
    for (int64_t owner = first_; owner < end_; ++owner)
      start_[owner - first_ + 1] = start_[owner - first_] + Tiles(SequenceAt(in_, owner / in_.n2).kv_len);
    return start_[end_ - first_];
  }

  int64_t Row(int64_t owner, int64_t key) const {
    return (SequenceAt(in_, owner / in_.n2).kv_start + key) * in_.n2 + owner % in_.n2;
  }

  Operand* Tile(int64_t owner, int64_t tile) const {
    return operands_.get() + (start_[owner - first_] + tile) * TileSize(in_);
  }

  void PackTile(int64_t i) const {
    const int64_t pair = EntryOf(start_.get(), end_ - first_, i), owner = first_ + pair;
    const int64_t tile = i - start_[pair], kv_len = SequenceAt(in_, owner / in_.n2).kv_len;
    Operand* to = Tile(owner, tile);
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t key = tile * kValueTile + half * kKeyTile, keys = Min(kKeyTile, kv_len - key);
      if (keys <= 0) break;
      PackTransposed<Dot, E>(KeyRow(owner, key), in_.n2 * in_.d1, keys, in_.d1,
                             to + half * PackedSize<Dot>(in_.d1, kKeyTile));
    }
    if (!values_) return;
    const int64_t key = tile * kValueTile;
    finite_[i] = PackInterleaved<Dot, E>([&](int64_t row) { return ValueRow(owner, key + row); },
                                         Min(kValueTile, kv_len - key), in_.d2, to + ValuesAt());
  }

  const PackedAttentionInputs& in_;
  const bool values_;
  const int64_t first_, end_;
  const Buffer<int64_t> start_;  // first tile of each owner
  const int64_t tiles_;
  const Buffer<Operand> operands_{tiles_ * TileSize(in_)};
  const Buffer<bool> finite_{tiles_};  // of each tile's values
};

}  // namespace
}  // namespace ms_nsa
