// SPDX-License-Identifier: Apache-2.0
// Training forward. For each kv head and chunk of tokens, the loop runs over kv blocks, not over tokens. A
// block is packed once and used, in register tiles, for all rows of the chunk that selected it; their results
// stay in the cache.
#pragma once

#include <unistd.h>

#include "../careful.h"
#include "../pack.h"
#include "../row_result.h"
#include "../threads.h"
#include "online_softmax.h"
#include "packed_keys.h"
#include "strided_prefetch.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
using BlockKeys = PackedKeys<Dot, E, kKeyTile>;

template <class Dot, class E>
class ForwardWorker {
 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  using Storage = typename E::Storage;
  // Of a batch. The next block's rows are fetched while the last rows of the current block, this many, are
  // computed: fetched earlier (96, 144, all along), the chunk's own rows push them out of L2 again. Handing
  // the fetches out between register tiles instead of batches gained nothing.
  static constexpr int kRows = kForwardRows<Dot>;
  using Batch = RowBatch<kRows>;

  static int64_t BytesPerRow(const PackedAttentionInputs& in) {
    return RowStride<Dot>(in.d1) * sizeof(Operand) + (RoundUp(in.d2, V::kLanes) + 2) * sizeof(float);
  }

  // Without packed keys, every chunk packs the blocks that it reads.
  ForwardWorker(Arena& arena, const PackedAttentionParams& p, const ChunkList& chunks,
                const BlockKeys<Dot, E>* packed)
      : p_(p),
        in_(p.in),
        packed_(packed),
        group_(in_.n1 / in_.n2),
        query_stride_(RowStride<Dot>(in_.d1)),
        out_stride_(RoundUp(in_.d2, V::kLanes)),
        near_bytes_(NearBytes()),
        index_(arena, CeilDiv(chunks.max_kv_len(), in_.select_block_size),
               chunks.max_tokens() * in_.select_block_count),
        query_(arena.Take<Operand>(chunks.max_tokens() * group_ * query_stride_)),
        out_(arena.Take<float>(chunks.max_tokens() * group_ * out_stride_)),
        key_(arena.Take<Operand>(PackedSize<Dot>(in_.d1, kKeyTile))),
        value_(arena.Take<Operand>(PackedSize<Dot>(kKeyTile, in_.d2))),
        visible_values_(arena, kKeyTile, in_.d2),
        scores_(arena.Take<float>(kRows * kKeyTile)),
        probabilities_(arena.Take<Operand>(kRows * kKeyTile)) {
    statistics_.max = arena.Take<float>(chunks.max_tokens() * group_);
    statistics_.sum = arena.Take<float>(chunks.max_tokens() * group_);
    for (int r = 0; r < kRows; ++r) {
      score_row_[r] = scores_ + r * kKeyTile;
      probability_row_[r] = probabilities_ + r * kKeyTile;
    }
  }

  void Run(const ChunkList::Item& chunk) {
    index_.Build(in_, chunk);
    fetch_rows_ = chunk.tokens * group_ * BytesPerRow(in_) > near_bytes_;
    Start(chunk);
    for (int64_t block = index_.Next(0), next; block < index_.blocks(); block = next) {
      next = index_.Next(block + 1);
      PlanPrefetch(chunk, block, next);
      ForEachKeyTile(block, in_.select_block_size, chunk.seq.kv_len,
                     [&](const KeyTile& tile) { RunTile(chunk, block, tile); });
    }
    Finish(chunk);
  }

 private:
  static int64_t NearBytes() {
    static const int64_t l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);  // asks the processor, which may be slow
    return l2 > 0 ? Min(2 * l2, kNearBytes) : kNearBytes;
  }

  // Row number in the tensors of row 0 of a token of the chunk.
  int64_t QueryRow(const ChunkList::Item& chunk, int64_t token) const {
    return (chunk.seq.q_start + chunk.first_token + token) * in_.n1 + chunk.head * group_;
  }

  void Start(const ChunkList::Item& chunk) {
    const auto* query = static_cast<const Storage*>(in_.query) + QueryRow(chunk, 0) * in_.d1;
    StridedPrefetch next(query, group_ * in_.d1 * sizeof(Storage), in_.n1 * in_.d1 * sizeof(Storage),
                         chunk.tokens);
    next.Advance(CeilDiv(kRowsAhead, group_));
    for (int64_t token = 0, row = 0; token < chunk.tokens; ++token, query += in_.n1 * in_.d1) {
      next.Advance(1);
      for (int64_t g = 0; g < group_; ++g, ++row) {
        PackRow<Dot, E>(query + g * in_.d1, in_.d1, query_ + row * query_stride_);
        statistics_.max[row] = kNegativeInfinity;
        statistics_.sum[row] = 0.0f;
      }
    }
    std::memset(out_, 0, chunk.tokens * group_ * out_stride_ * sizeof(float));
  }

  void PlanPrefetch(const ChunkList::Item& chunk, int64_t block, int64_t next) {
    // The processor fetches packed blocks by itself, 0 to 6 % faster than when asked to.
    if (packed_ != nullptr) return;
    const int64_t first = next * in_.select_block_size;
    const int64_t rows = Min(kKeyTile, Min(in_.select_block_size, chunk.seq.kv_len - first));
    const int64_t kv_row = (chunk.seq.kv_start + first) * in_.n2 + chunk.head;
    constexpr int64_t kBytes = sizeof(Storage);
    next_key_ = StridedPrefetch(static_cast<const Storage*>(in_.key) + kv_row * in_.d1, in_.d1 * kBytes,
                                in_.n2 * in_.d1 * kBytes, rows);
    next_value_ = StridedPrefetch(static_cast<const Storage*>(in_.value) + kv_row * in_.d2, in_.d2 * kBytes,
                                  in_.n2 * in_.d2 * kBytes, rows);
    const int64_t total = index_.count(block) * group_;
    prefetch_rows_ = CeilDiv(kKeyTile * kRows, Min(total, kRows));
    prefetch_wait_ = total - kRows;
  }

  struct TileOperands {
    PackedB<Dot> key, value;
    bool finite;  // the values
  };

  TileOperands OperandsOf(const ChunkList::Item& chunk, const KeyTile& tile) {
    const int64_t first = tile.first_key;
    if (packed_ != nullptr) {
      return {packed_->Key(chunk.owner, first), packed_->Value(chunk.owner, first),
              packed_->ValuesAreFinite(chunk.owner, first)};
    }
    const Storage* value = ValueRow(chunk, first);
    const int64_t stride = in_.n2 * in_.d2;
    PackTransposed<Dot, E>(KeyAt<Storage>(in_, chunk, first), in_.n2 * in_.d1, tile.keys, in_.d1, key_);
    const bool finite =
        PackInterleaved<Dot, E>([=](int64_t i) { return value + i * stride; }, tile.keys, in_.d2, value_);
    return {{key_, CeilDiv(in_.d1, Dot::kPair), CeilDiv(tile.keys, V::kLanes)},
            {value_, CeilDiv(tile.keys, Dot::kPair), CeilDiv(in_.d2, V::kLanes)},
            finite};
  }

  const Storage* ValueRow(const ChunkList::Item& chunk, int64_t row) const {
    const int64_t at = (chunk.seq.kv_start + row) * in_.n2 + chunk.head;
    return static_cast<const Storage*>(in_.value) + at * in_.d2;
  }

  void RunTile(const ChunkList::Item& chunk, int64_t block, const KeyTile& tile) {
    const TileOperands operands = OperandsOf(chunk, tile);
    ForEachBatch(in_, chunk, index_, block, tile, batch_, [&](const Batch& batch) {
      prefetch_wait_ -= batch.count;
      if (prefetch_wait_ <= 0) next_key_.Advance(prefetch_rows_);
      const bool masked = !batch.all_visible || batch.repeated || tile.keys % V::kLanes != 0;
      const SeenVectors seen = SeenBy<V>(batch, tile.keys);
      ScoreBatch(batch, operands.key, seen, masked);
      if (prefetch_wait_ <= 0) next_value_.Advance(prefetch_rows_);
      if (fetch_rows_) FetchQueries(batch);
      const PartOfB part = KeySteps(seen, operands.value);
      if (!operands.finite && !batch.all_visible)
        return AddVisible(batch, ValueRow(chunk, tile.first_key), tile.keys, part);
      GemmPart<Dot>(batch.count, probability_row_, Dot::kPair, operands.value, part, out_row_, Init::kScale,
                    factor_);
    });
  }

  void ScoreBatch(const Batch& batch, const PackedB<Dot>& key, const SeenVectors& seen, bool masked) {
    for (int64_t r = 0; r < batch.count; ++r) {
      query_row_[r] = query_ + batch.row[r] * query_stride_;
      out_row_[r] = out_ + batch.row[r] * out_stride_;
      if (fetch_rows_) FetchLines(out_row_[r], out_stride_ * sizeof(float));
    }
    GemmPart<Dot>(batch.count, query_row_, Dot::kPair, key, KeyColumns(seen, key), score_row_, Init::kZero);
    if (masked) {
      OnlineSoftmax<Dot, true>(batch, seen, in_.scale_value, scores_, probabilities_, statistics_, factor_);
    } else {
      OnlineSoftmax<Dot, false>(batch, seen, in_.scale_value, scores_, probabilities_, statistics_, factor_);
    }
  }

  // Of the next batch.
  void FetchQueries(const Batch& batch) const {
    const int64_t tokens = Min(batch.later, CeilDiv(kRows, group_)), stride = group_ * query_stride_;
    for (int64_t i = 0; i < tokens; ++i) {
      FetchLines(query_ + batch.next[i].token * stride, stride * sizeof(Operand));
    }
  }

  // The same product where a value is not finite.
  void AddVisible(const Batch& batch, const Storage* value, int64_t keys, const PartOfB& part) {
    ForEachView(batch, [&](int64_t first, int64_t end, uint64_t visible) {
      const PackedB<Dot> values = visible_values_.Pack(visible, value, in_.n2 * in_.d2, keys);
      GemmPart<Dot>(end - first, probability_row_ + first, Dot::kPair, values, part, out_row_ + first,
                    Init::kScale, factor_ + first);
    });
  }

  void Finish(const ChunkList::Item& chunk) {
    auto* out = static_cast<Storage*>(p_.attention_out) + QueryRow(chunk, 0) * in_.d2;
    StridedPrefetch next(out, group_ * in_.d2 * sizeof(Storage), in_.n1 * in_.d2 * sizeof(Storage),
                         chunk.tokens);
    next.Advance(CeilDiv(kRowsAhead, group_));
    for (int64_t token = 0, row = 0; token < chunk.tokens; ++token, out += in_.n1 * in_.d2) {
      next.Advance(1);
      for (int64_t g = 0; g < group_; ++g, ++row) {
        const float max = statistics_.max[row], sum = statistics_.sum[row];
        const bool finite =
            StoreRow<V, E>(out + g * in_.d2, out_ + row * out_stride_, in_.d2, sum == 0.0f ? 1.0f : sum);
        if (!finite && MayHaveOverflowed(max, sum)) StoreScaled(chunk, token, g, out + g * in_.d2);
        StoreStatistics(p_.softmax_max, p_.softmax_sum, QueryRow(chunk, token) + g, max, sum);
      }
    }
  }

  void StoreScaled(const ChunkList::Item& chunk, int64_t token, int64_t g, Storage* out) {
    const auto for_each_row = [&](const auto& f) {
      index_.ForEachRow(in_, chunk, token,
                        [&](int64_t row) { f(KeyAt<Storage>(in_, chunk, row), ValueRow(chunk, row)); });
    };
    const int64_t row = QueryRow(chunk, token) + g;
    const auto* query = static_cast<const Storage*>(in_.query) + row * in_.d1;
    AttendScaled<V, E>(query, in_.d1, in_.d2, in_.scale_value, for_each_row,
                       out_ + (token * group_ + g) * out_stride_, out);
  }

  const PackedAttentionParams& p_;
  const PackedAttentionInputs& in_;
  const BlockKeys<Dot, E>* const packed_;
  const int64_t group_, query_stride_, out_stride_, near_bytes_;
  InverseIndex index_;
  Operand* query_;  // the chunk's rows
  float* out_;      // the chunk's results, not yet divided by the sum
  Operand* key_;    // one key tile, transposed
  Operand* value_;
  const RowsInView<Dot, E> visible_values_;
  float* scores_;
  Operand* probabilities_;
  RowStatistics statistics_;
  Batch batch_;
  StridedPrefetch next_key_, next_value_;
  int64_t prefetch_rows_ = 0, prefetch_wait_ = 0;
  bool fetch_rows_ = false;  // the chunk's own
  const Operand* query_row_[kRows];
  const Operand* probability_row_[kRows];
  float* score_row_[kRows];
  float* out_row_[kRows];
  float factor_[RoundUp(kRows, V::kLanes)];
};

// Chunks [first, end) of the list.
template <class Dot, class E>
inline void AttendChunks(const PackedAttentionParams& p, const ChunkList& chunks, int64_t first, int64_t end,
                         const BlockKeys<Dot, E>* packed) {
  using Worker = ForwardWorker<Dot, E>;
  Arena sizing;
  Worker(sizing, p, chunks, packed);
  const int64_t size = sizing.used();
  const Team team(end - first, p.in.max_threads);
  const Buffer<char> memory(team.members() * size);
  int64_t next_chunk = first;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena arena(memory.get() + member * size);
    Worker worker(arena, p, chunks, packed);
    for (int64_t i; (i = TakeTask(&next_chunk)) < end;) worker.Run(chunks.At(i));
  });
}

// Whether selected blocks are packed once for all chunks: if the rows that read a block are those of several.
// Products by matrix tiles are so short that packing every block for each chunk, and reading chunks that are
// large for that reason from beyond L2, were a fifth of the forward of 32768 tokens. Windows gain nothing.
template <class Dot>
inline bool PacksOnce(const PackedAttentionInputs& in) {
  if (!Dot::kMatrixTiles || in.key_rule != KeyRule::kSelected || in.select_block_size < kKeyTile)
    return false;
  const int64_t blocks = CeilDiv(in.t2, in.select_block_size), rows = in.t1 * (in.n1 / in.n2);
  return rows * Min(in.select_block_count, blocks) >= 2 * kRowsPerBlock * blocks;
}

template <class Dot, class E>
void PackedAttention(const PackedAttentionParams& p) {
  const bool once = PacksOnce<Dot>(p.in);
  const int64_t bytes = ForwardWorker<Dot, E>::BytesPerRow(p.in);
  const ChunkList chunks(p.in, (once ? kPackedChunkBytes : kChunkBytes) / bytes);
  if (!once) return AttendChunks<Dot, E>(p, chunks, 0, chunks.size(), nullptr);
  const int64_t block_size = p.in.select_block_size;
  ForEachShareOfOwners<BlockKeys<Dot, E>>(p.in, block_size, [&](int64_t first, int64_t end) {
    const BlockKeys<Dot, E> packed(p.in, block_size, true, first, end);
    packed.Pack(p.in.max_threads);
    AttendChunks<Dot, E>(p, chunks, chunks.FirstChunk(first), chunks.FirstChunk(end), &packed);
  });
}

}  // namespace
}  // namespace ms_nsa
