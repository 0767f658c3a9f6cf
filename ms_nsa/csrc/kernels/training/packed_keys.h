// SPDX-License-Identifier: Apache-2.0
// Keys and values as operands of the matrix product, packed once for a call, not once for every tile or chunk
// of tokens that reads them.
#pragma once

#include "../pack.h"
#include "../sequences.h"
#include "../threads.h"

namespace ms_nsa {
namespace {

// Bytes of operands that are packed before the tokens that need them are processed.
constexpr int64_t kOperandBytes = int64_t{40} << 20;

// The (sequence, kv head) pairs [first, end) of a call, whose operands are in memory together. Keys are
// divided into blocks, and these into spans of kSpan keys. The values of a span are one operand; its keys
// are one operand for every kKeyTile.
template <class Dot, class E, int64_t kSpan>
class PackedKeys {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;

  PackedKeys(const PackedAttentionInputs& in, int64_t block_size, bool values, int64_t first, int64_t end)
      : in_(in),
        block_size_(block_size),
        values_(values),
        first_(first),
        end_(end),
        start_(end - first + 1),
        spans_(Place()) {}

  static int64_t Bytes(const PackedAttentionInputs& in, int64_t block_size, int64_t keys) {
    return Spans(block_size, keys) * SpanSize(in) * static_cast<int64_t>(sizeof(Operand));
  }

  void Pack(int64_t max_threads) const {
    const Team team(spans_, max_threads);
    int64_t next_span = 0;
    team.Run([&](int) {
      for (int64_t i; (i = TakeTask(&next_span)) < spans_;) PackSpan(i);
    });
  }

  // Up to kKeyTile keys from `key` on, which is the first of a tile of its block.
  PackedB<Dot> Key(int64_t owner, int64_t key) const {
    const int64_t tile = key % block_size_ % kSpan / kKeyTile;
    const int64_t keys = Min(kKeyTile, KeysFrom(key, SequenceAt(in_, owner / in_.n2)));
    return {Span(SpanOf(owner, key)) + tile * PackedSize<Dot>(in_.d1, kKeyTile), CeilDiv(in_.d1, Dot::kPair),
            CeilDiv(keys, V::kLanes)};
  }
  // The values of the span that begins with `key`.
  PackedB<Dot> Value(int64_t owner, int64_t key) const {
    const int64_t keys = KeysFrom(key, SequenceAt(in_, owner / in_.n2));
    return {Span(SpanOf(owner, key)) + ValuesAt(), CeilDiv(keys, Dot::kPair), CeilDiv(in_.d2, V::kLanes)};
  }
  bool ValuesAreFinite(int64_t owner, int64_t key) const { return finite_[SpanOf(owner, key)]; }

  // The keys of an owner from one of them on, and the values.
  const S* KeyRow(int64_t owner, int64_t key) const {
    return static_cast<const S*>(in_.key) + Row(owner, key) * in_.d1;
  }
  const S* ValueRow(int64_t owner, int64_t key) const {
    return static_cast<const S*>(in_.value) + Row(owner, key) * in_.d2;
  }

 private:
  static int64_t SpansOfBlock(int64_t block_size) { return CeilDiv(block_size, kSpan); }
  // Number of the span of an owner's key.
  static int64_t SpanNumber(int64_t block_size, int64_t key) {
    return key / block_size * SpansOfBlock(block_size) + key % block_size / kSpan;
  }
  static int64_t Spans(int64_t block_size, int64_t keys) {
    return keys == 0 ? 0 : SpanNumber(block_size, keys - 1) + 1;
  }
  static int64_t SpanSize(const PackedAttentionInputs& in) {
    return kSpan / kKeyTile * PackedSize<Dot>(in.d1, kKeyTile) + PackedSize<Dot>(kSpan, in.d2);
  }
  int64_t ValuesAt() const { return kSpan / kKeyTile * PackedSize<Dot>(in_.d1, kKeyTile); }

  int64_t Place() const {
    start_[0] = 0;
    for (int64_t owner = first_; owner < end_; ++owner) {
      const int64_t keys = SequenceAt(in_, owner / in_.n2).kv_len;
      start_[owner - first_ + 1] = start_[owner - first_] + Spans(block_size_, keys);
    }
    return start_[end_ - first_];
  }

  // Number of keys from `key` to the end of its span.
  int64_t KeysFrom(int64_t key, const Sequence& seq) const {
    const int64_t in_block = key % block_size_;
    return Min(Min(kSpan - in_block % kSpan, block_size_ - in_block), seq.kv_len - key);
  }

  int64_t Row(int64_t owner, int64_t key) const {
    return (SequenceAt(in_, owner / in_.n2).kv_start + key) * in_.n2 + owner % in_.n2;
  }

  int64_t SpanOf(int64_t owner, int64_t key) const {
    return start_[owner - first_] + SpanNumber(block_size_, key);
  }
  Operand* Span(int64_t i) const { return operands_.get() + i * SpanSize(in_); }

  void PackSpan(int64_t i) const {
    const int64_t pair = EntryOf(start_.get(), end_ - first_, i), owner = first_ + pair;
    const int64_t span = i - start_[pair], of_block = SpansOfBlock(block_size_);
    const int64_t first = span / of_block * block_size_ + span % of_block * kSpan;
    const int64_t count = KeysFrom(first, SequenceAt(in_, owner / in_.n2));
    Operand* to = Span(i);
    for (int64_t key = 0; key < count; key += kKeyTile) {
      PackTransposed<Dot, E>(KeyRow(owner, first + key), in_.n2 * in_.d1, Min(kKeyTile, count - key), in_.d1,
                             to + key / kKeyTile * PackedSize<Dot>(in_.d1, kKeyTile));
    }
    if (!values_) return;
    finite_[i] = PackInterleaved<Dot, E>([&](int64_t row) { return ValueRow(owner, first + row); }, count,
                                         in_.d2, to + ValuesAt());
  }

  const PackedAttentionInputs& in_;
  const int64_t block_size_;
  const bool values_;
  const int64_t first_, end_;
  const Buffer<int64_t> start_;  // first span of each owner
  const int64_t spans_;
  const Buffer<Operand> operands_{spans_ * SpanSize(in_)};
  const Buffer<bool> finite_{spans_};  // of each span's values
};

// Calls f(first, end) for all (sequence, kv head) pairs, as many at a time as kOperandBytes allow.
template <class Keys, class F>
inline void ForEachShareOfOwners(const PackedAttentionInputs& in, int64_t block_size, F f) {
  const int64_t owners = in.batch * in.n2;
  for (int64_t first = 0, end; first < owners; first = end) {
    int64_t bytes = 0;
    for (end = first; end < owners && (end == first || bytes < kOperandBytes); ++end)
      bytes += Keys::Bytes(in, block_size, SequenceAt(in, end / in.n2).kv_len);
    f(first, end);
  }
}

}  // namespace
}  // namespace ms_nsa
