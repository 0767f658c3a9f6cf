// SPDX-License-Identifier: Apache-2.0
// The sequences of a packed batch and their division into chunks of tokens.
#pragma once

#include "../params.h"
#include "buffer.h"
#include "tiling.h"

namespace ms_nsa {
namespace {

struct Sequence {
  int64_t q_start, q_len, kv_start, kv_len;
  int64_t raw_len;  // rows that positions count; kv_len unless keys are compressed
};

// The entry that number i belongs to, if entry e has the numbers from start[e] to start[e + 1].
inline int64_t EntryOf(const int64_t* start, int64_t entries, int64_t i) {
  int64_t low = 0, high = entries;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (start[middle] <= i ? low : high) = middle;
  }
  return low;
}

// The inclusive prefix sum before entry b.
inline int64_t Before(const int64_t* ends, int64_t b) {
  return b == 0 ? 0 : ends[b - 1];
}

inline Sequence SequenceAt(const PackedAttentionInputs& in, int64_t b) {
  const int64_t q = Before(in.actual_seq_qlen, b), kv = Before(in.actual_seq_kvlen, b);
  const int64_t* raw = in.raw_seq_kvlen == nullptr ? in.actual_seq_kvlen : in.raw_seq_kvlen;
  return {q, in.actual_seq_qlen[b] - q, kv, in.actual_seq_kvlen[b] - kv, raw[b] - Before(raw, b)};
}

// Tokens per chunk, which has at most max_rows query rows. It depends only on shapes, not on the number of
// threads; so results are bitwise identical.
inline int64_t ChunkTokens(const PackedAttentionInputs& in, const Sequence& seq, int64_t max_rows) {
  const int64_t group = in.n1 / in.n2;
  const int64_t blocks = CeilDiv(seq.kv_len, in.select_block_size);
  const int64_t picks = Max(1, Min(in.select_block_count, blocks));
  int64_t tokens = CeilDiv(kRowsPerBlock * blocks, group * picks);
  tokens = Max(kMinChunkTokens, Min(tokens, kMaxChunkTokens));
  tokens = Min(tokens, max_rows / group);
  tokens = Max(1, Min(tokens, kMaxChunkEntries / in.select_block_count));
  if (in.key_rule == KeyRule::kWindow) tokens = Min(tokens, Max(1, kWindowRows / group));
  return seq.q_len == 0 ? tokens : CeilDiv(seq.q_len, CeilDiv(seq.q_len, tokens));
}

// Numbers all (sequence, kv head, chunk) triples.
class ChunkList {
 public:
  struct Item {
    Sequence seq;
    int64_t owner, head, first_token, tokens;  // first_token counts from the start of the sequence
  };

  ChunkList(const PackedAttentionInputs& in, int64_t max_rows)
      : in_(in), max_rows_(max_rows), start_(in.batch + 1) {
    start_[0] = 0;
    for (int64_t b = 0; b < in.batch; ++b) {
      const Sequence seq = SequenceAt(in, b);
      const int64_t tokens = ChunkTokens(in, seq, max_rows);
      const int64_t count = CeilDiv(seq.q_len, tokens);
      start_[b + 1] = start_[b] + count * in.n2;
      max_count_ = Max(max_count_, count);
      max_tokens_ = Max(max_tokens_, Min(tokens, seq.q_len));
      max_kv_len_ = Max(max_kv_len_, seq.kv_len);
    }
  }

  int64_t size() const { return start_[in_.batch]; }
  int64_t count(int64_t b) const { return (start_[b + 1] - start_[b]) / in_.n2; }  // of one head
  int64_t max_count() const { return max_count_; }
  // The number of an owner's first chunk; of the owner behind the last one, size().
  int64_t FirstChunk(int64_t owner) const {
    const int64_t b = owner / in_.n2;
    return start_[b] + (b == in_.batch ? 0 : owner % in_.n2 * count(b));
  }
  int64_t max_tokens() const { return max_tokens_; }
  int64_t max_kv_len() const { return max_kv_len_; }

  // Chunks of one head are consecutive, so concurrent threads share the keys of the head in the last-level
  // cache.
  Item At(int64_t i) const {
    const int64_t b = EntryOf(start_.get(), in_.batch, i), chunks = count(b);
    return At(b, (i - start_[b]) / chunks, (i - start_[b]) % chunks);
  }

  Item At(int64_t b, int64_t head, int64_t chunk) const {
    const Sequence seq = SequenceAt(in_, b);
    const int64_t tokens = ChunkTokens(in_, seq, max_rows_), first = chunk * tokens;
    return {seq, b * in_.n2 + head, head, first, Min(tokens, seq.q_len - first)};
  }

 private:
  const PackedAttentionInputs& in_;
  int64_t max_rows_, max_count_ = 0, max_tokens_ = 0, max_kv_len_ = 0;
  Buffer<int64_t> start_;
};

// Row in query and attention_out of a row of the chunk: token * group + query head of the group.
inline int64_t QueryRow(const PackedAttentionInputs& in, const ChunkList::Item& chunk, int64_t row) {
  const int64_t group = in.n1 / in.n2;
  return (chunk.seq.q_start + chunk.first_token + row / group) * in.n1 + chunk.head * group + row % group;
}

// The key of the chunk's head at a row of its sequence.
template <class Storage>
inline const Storage* KeyAt(const PackedAttentionInputs& in, const ChunkList::Item& chunk, int64_t row) {
  return static_cast<const Storage*>(in.key) + ((chunk.seq.kv_start + row) * in.n2 + chunk.head) * in.d1;
}

}  // namespace
}  // namespace ms_nsa
