// SPDX-License-Identifier: Apache-2.0
// Attention over compressed rows and the choice of blocks. A tile of tokens keeps complete rows of scores, so
// the maximum and the sum are known before any weight is used. The weights are computed once, both for the
// values and for the importance of blocks. (An online softmax needs both corrected later: 4 to 9 % slower.)
#pragma once

#include "../block_choice.h"
#include "../row_result.h"
#include "online_softmax.h"
#include "packed_keys.h"
#include "strided_prefetch.h"

namespace ms_nsa {
namespace {

// Rows (token x group) that pass together over the packed operands; their scores stay in L2 up to some 4000
// keys, and are not slower beyond.
constexpr int64_t kScoreRows = 96;

// Maximum bytes of the scores of one thread for which this many rows are kept together.
constexpr int64_t kScoreBytes = int64_t{32} << 20;

// The values of this many keys are one operand: their sums are loaded and stored once for all of them.
constexpr int64_t kValueTile = 2 * kKeyTile;

template <class Dot, class E>
using CompressedKeys = PackedKeys<Dot, E, kValueTile>;

// Numbers the tiles of tokens of the (sequence, kv head) pairs [first, end).
class TokenTiles {
 public:
  struct Item {
    int64_t owner;
    Sequence seq;
    int64_t first_token, tokens;
  };

  TokenTiles(const PackedAttentionInputs& in, int64_t first, int64_t end)
      : in_(in), first_(first), end_(end), start_(end - first + 1) {
    start_[0] = 0;
    for (int64_t owner = first; owner < end; ++owner) {
      const Sequence seq = SequenceAt(in, owner / in.n2);
      start_[owner - first + 1] = start_[owner - first] + CeilDiv(seq.q_len, Tokens(in, seq));
    }
  }

  static int64_t Tokens(const PackedAttentionInputs& in, const Sequence& seq) {
    const int64_t group = in.n1 / in.n2, row_bytes = Max(1, seq.kv_len) * static_cast<int64_t>(sizeof(float));
    return Max(1, Min(kScoreRows, kScoreBytes / row_bytes) / group);
  }

  int64_t size() const { return start_[end_ - first_]; }

  // The last tokens of a sequence come first, because they see the most keys.
  Item At(int64_t i) const {
    const int64_t pair = EntryOf(start_.get(), end_ - first_, i);
    const Sequence seq = SequenceAt(in_, (first_ + pair) / in_.n2);
    const int64_t tokens = Tokens(in_, seq), first = (start_[pair + 1] - 1 - i) * tokens;
    return {first_ + pair, seq, first, Min(tokens, seq.q_len - first)};
  }

 private:
  const PackedAttentionInputs& in_;
  const int64_t first_, end_;
  const Buffer<int64_t> start_;
};

template <class Dot, class E>
class CompressedWorker {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;

  CompressedWorker(Arena& arena, const CompressAttentionParams& p)
      : p_(p),
        in_(p.in),
        group_(in_.n1 / in_.n2),
        overlap_(arena, in_.compress_block_size, in_.compress_stride, p.choice.block_size),
        chooser_(arena, p.choice, MostBlocks(p)) {
    int64_t rows = 0, keys = 0, cells = 0;
    for (int64_t b = 0; b < in_.batch; ++b) {
      const Sequence seq = SequenceAt(in_, b);
      const int64_t of_tile = Min(TokenTiles::Tokens(in_, seq), seq.q_len) * group_;
      rows = Max(rows, of_tile);
      keys = Max(keys, seq.kv_len);
      cells = Max(cells, of_tile * ScoreStride(seq.kv_len));
    }
    query_stride_ = RowStride<Dot>(in_.d1);
    out_stride_ = RoundUp(in_.d2, V::kLanes);
    query_ = arena.Take<Operand>(rows * query_stride_);
    scores_ = arena.Take<float>(cells);
    out_ = arena.Take<float>(rows * out_stride_);
    weight_ = arena.Take<float>(overlap_.before() + RoundUp(keys, kValueTile) + overlap_.readable_after());
    importance_ = arena.Take<float>(RoundUp(MostBlocks(p), V::kLanes));
    value_ = arena.Take<Operand>(PackedSize<Dot>(kValueTile, in_.d2));
    zeros_ = arena.Take<S>(in_.d2);
    row_ = arena.Take<Row>(rows);
    a_ = arena.Take<const Operand*>(rows);
    c_ = arena.Take<float*>(rows);
  }

  void Start() const {
    overlap_.Start();
    for (int64_t i = 0; i < overlap_.before(); ++i) weight_[i] = 0.0f;
    std::memset(zeros_, 0, in_.d2 * sizeof(S));
  }

  void Run(const TokenTiles::Item& tile, const CompressedKeys<Dot, E>& keys) {
    tile_ = tile;
    rows_ = tile.tokens * group_;
    keys_seen_ = VisibleLimit(in_, tile.seq, tile.first_token + tile.tokens - 1);
    stride_ = ScoreStride(keys_seen_);
    Score(keys);
    for (int64_t token = 0; token < tile.tokens; ++token) {
      for (int64_t g = 0; g < group_; ++g) Softmax(token, g);
      ToWeights(token);
      Choose(token);
    }
    if (p_.attention_out != nullptr) AddValues(keys);
    Finish(keys);
  }

 private:
  struct Row {
    float max, sum;
  };

  static int64_t MostBlocks(const CompressAttentionParams& p) {
    int64_t most = 0;
    for (int64_t b = 0; b < p.in.batch; ++b)
      most = Max(most, CeilDiv(SequenceAt(p.in, b).raw_len, p.choice.block_size));
    return most;
  }

  // Of a row of scores: whole value tiles, and some more so that rows do not compete for the same cache sets.
  static int64_t ScoreStride(int64_t keys) { return RoundUp(keys, kValueTile) + 16; }

  int64_t QueryRow(int64_t token, int64_t g) const {
    return (tile_.seq.q_start + tile_.first_token + token) * in_.n1 + tile_.owner % in_.n2 * group_ + g;
  }
  int64_t Limit(int64_t token) const { return VisibleLimit(in_, tile_.seq, tile_.first_token + token); }
  float* Scores(int64_t row) const { return scores_ + row * stride_; }
  const uint8_t* MaskRow(int64_t token) const {
    return in_.atten_mask == nullptr ? nullptr
                                     : in_.atten_mask + (tile_.first_token + token) * in_.atten_mask_cols;
  }

  // The tile's rows of query or attention_out; the first ones are under way. (Fetching
  // them, and the next tile's queries, between the rows of the softmax took no less time.)
  StridedPrefetch TokensAhead(const void* rows, int64_t width) const {
    const int64_t bytes = width * sizeof(S);
    StridedPrefetch next(static_cast<const char*>(rows) + QueryRow(0, 0) * bytes, group_ * bytes,
                         in_.n1 * bytes, tile_.tokens);
    next.Advance(CeilDiv(kRowsAhead, group_));
    return next;
  }

  void Score(const CompressedKeys<Dot, E>& keys) {
    const auto* query = static_cast<const S*>(in_.query);
    StridedPrefetch next = TokensAhead(query, in_.d1);
    for (int64_t row = 0; row < rows_; ++row) {
      if (row % group_ == 0) next.Advance(1);
      a_[row] = query_ + row * query_stride_;
      PackRow<Dot, E>(query + QueryRow(row / group_, row % group_) * in_.d1, in_.d1,
                      query_ + row * query_stride_);
    }
    for (int64_t first = 0; first < keys_seen_; first += kKeyTile) {
      for (int64_t row = 0; row < rows_; ++row) c_[row] = Scores(row) + first;
      const PackedB<Dot> key = keys.Key(tile_.owner, first);
      const int64_t vectors = CeilDiv(Min(kKeyTile, keys_seen_ - first), V::kLanes);
      GemmPart<Dot>(rows_, a_, Dot::kPair, key, {0, key.depth, 0, vectors}, c_, Init::kZero);
    }
  }

  // z = scale * score, -inf where the token does not see the key, of the vector at key `first`.
  typename V::Reg Scaled(const float* score, int64_t first, int64_t limit, const uint8_t* mask) const {
    const auto z = V::Mul(V::Load(score + first), V::Set1(in_.scale_value));
    if (mask == nullptr && first + V::kLanes <= limit) return z;
    const int64_t count = Max(0, Min(V::kLanes, limit - first));
    const uint64_t visible = mask == nullptr ? LowBits(count) : ZeroBytes(mask + first, count);
    return V::Select(V::MaskFromBits(static_cast<uint32_t>(visible)), z, V::Set1(kNegativeInfinity));
  }

  // Scores become exp(z - max), 0 up to the end of the last value tile.
  void Softmax(int64_t token, int64_t g) {
    const int64_t row = token * group_ + g, limit = Limit(token);
    const uint8_t* mask = MaskRow(token);
    float* score = Scores(row);
    auto largest = V::Set1(kNegativeInfinity);
    for (int64_t i = 0; i < limit; i += V::kLanes) largest = V::Max(largest, Scaled(score, i, limit, mask));
    const float max = V::ReduceMax(largest);
    // A NaN is no shift: keys that are not seen would weigh NaN as well.
    const auto shift = V::Set1(max > kNegativeInfinity ? max : 0.0f);
    auto sum = V::Zero();
    int64_t i = 0;
    for (; i < limit; i += V::kLanes) {
      const auto e = Exp<V, Dot::kPreciseExp>(V::Sub(Scaled(score, i, limit, mask), shift));
      sum = V::Add(sum, e);
      V::Store(score + i, e);
    }
    for (; i < RoundUp(keys_seen_, kValueTile); i += V::kLanes) V::Store(score + i, V::Zero());
    row_[row] = {max, V::ReduceAdd(sum)};
  }

  // The exponentials become operands, in their own memory, and the sum of the group's weights goes to
  // weight_.
  void ToWeights(int64_t token) {
    const int64_t end = RoundUp(keys_seen_, kValueTile);
    float* weight = weight_ + overlap_.before();
    for (int64_t g = 0; g < group_; ++g) {
      float* score = Scores(token * group_ + g);
      auto* operand = reinterpret_cast<Operand*>(score);
      const float sum = row_[token * group_ + g].sum;
      const auto inverse = V::Set1(sum > 0.0f ? 1.0f / sum : 0.0f);
      for (int64_t i = 0; i < end; i += 2 * V::kLanes) {
        const auto first = V::Load(score + i), second = V::Load(score + i + V::kLanes);
        const auto of_first = g == 0 ? V::Zero() : V::Load(weight + i);
        const auto of_second = g == 0 ? V::Zero() : V::Load(weight + i + V::kLanes);
        V::Store(weight + i, V::Fma(first, inverse, of_first));
        V::Store(weight + i + V::kLanes, V::Fma(second, inverse, of_second));
        Dot::StoreRow(operand + i, first, second);
      }
      if (sum != sum) LoseWeights(token, sum);
    }
  }

  // A row with a NaN among its scores: the weights of all keys that it sees are NaN, and of no others.
  void LoseWeights(int64_t token, float nan) {
    const uint8_t* mask = MaskRow(token);
    for (int64_t key = 0; key < Limit(token); ++key) {
      if (mask == nullptr || mask[key] == 0) weight_[overlap_.before() + key] = nan;
    }
  }

  void Choose(int64_t token) {
    if (p_.choice.block_count == 0) return;
    const int64_t s = tile_.first_token + token;
    const Candidates candidates = CandidatesOf(in_, p_.choice, tile_.seq, s);
    float* weight = weight_ + overlap_.before();
    for (int64_t i = 0; i < overlap_.after(); ++i) weight[RoundUp(keys_seen_, kValueTile) + i] = 0.0f;
    overlap_.template Importance<V>(weight, Limit(token), candidates.blocks, importance_);
    const int64_t at = (tile_.seq.q_start + s) * in_.n2 + tile_.owner % in_.n2;
    chooser_.template Choose<V>(candidates, importance_, p_.topk_indices + at * p_.choice.block_count);
  }

  void AddValues(const CompressedKeys<Dot, E>& keys) {
    std::memset(out_, 0, rows_ * out_stride_ * sizeof(float));
    for (int64_t row = 0; row < rows_; ++row) c_[row] = out_ + row * out_stride_;
    for (int64_t first = 0; first < keys_seen_; first += kValueTile) {
      const PackedB<Dot> value = keys.Value(tile_.owner, first);
      for (int64_t row = 0; row < rows_; ++row) a_[row] = reinterpret_cast<Operand*>(Scores(row)) + first;
      if (keys.ValuesAreFinite(tile_.owner, first) || AllSee(first)) {
        const int64_t depth = CeilDiv(Min(kValueTile, keys_seen_ - first), Dot::kPair);
        GemmPart<Dot>(rows_, a_, Dot::kPair, value, {0, depth, 0, value.vectors}, c_, Init::kLoad);
      } else {
        for (int64_t token = 0; token < tile_.tokens; ++token) AddVisibleValues(keys, token, first);
      }
    }
  }

  // Whether every token of the tile sees all keys of the value tile that any of them may see.
  bool AllSee(int64_t first) const {
    return in_.atten_mask == nullptr && Limit(0) >= Min(first + kValueTile, keys_seen_);
  }

  // The same product for one token, with zeros for the values that it does not see.
  void AddVisibleValues(const CompressedKeys<Dot, E>& keys, int64_t token, int64_t first) {
    const int64_t end = Min(first + kValueTile, Limit(token));
    if (end <= first) return;
    const uint8_t* mask = MaskRow(token);
    const auto row = [&](int64_t i) {
      const bool dropped = mask != nullptr && mask[first + i] != 0;
      return dropped ? zeros_ : keys.ValueRow(tile_.owner, first + i);
    };
    PackInterleaved<Dot, E>(row, end - first, in_.d2, value_);
    const PackedB<Dot> value{value_, CeilDiv(end - first, Dot::kPair), CeilDiv(in_.d2, V::kLanes)};
    Gemm<Dot>(group_, a_ + token * group_, Dot::kPair, value, c_ + token * group_, Init::kLoad);
  }

  void Finish(const CompressedKeys<Dot, E>& keys) {
    StridedPrefetch next;
    if (p_.attention_out != nullptr) next = TokensAhead(p_.attention_out, in_.d2);
    for (int64_t row = 0; row < rows_; ++row) {
      if (row % group_ == 0) next.Advance(1);
      const int64_t to = QueryRow(row / group_, row % group_);
      const float max = row_[row].max, sum = row_[row].sum;
      StoreStatistics(p_.softmax_max, p_.softmax_sum, to, max, sum);
      if (p_.attention_out == nullptr) continue;
      S* out = static_cast<S*>(p_.attention_out) + to * in_.d2;
      const bool finite = StoreRow<V, E>(out, out_ + row * out_stride_, in_.d2, sum == 0.0f ? 1.0f : sum);
      if (!finite && MayHaveOverflowed(max, sum)) StoreScaled(keys, row, out);
    }
  }

  void StoreScaled(const CompressedKeys<Dot, E>& keys, int64_t row, S* out) const {
    const int64_t token = row / group_, limit = Limit(token);
    const uint8_t* mask = MaskRow(token);
    const auto for_each_row = [&](const auto& f) {
      for (int64_t key = 0; key < limit; ++key) {
        if (mask == nullptr || mask[key] == 0)
          f(keys.KeyRow(tile_.owner, key), keys.ValueRow(tile_.owner, key));
      }
    };
    const auto* query = static_cast<const S*>(in_.query) + QueryRow(token, row % group_) * in_.d1;
    AttendScaled<V, E>(query, in_.d1, in_.d2, in_.scale_value, for_each_row, out_ + row * out_stride_, out);
  }

  const CompressAttentionParams& p_;
  const PackedAttentionInputs& in_;
  const int64_t group_;
  const BlockOverlap overlap_;
  Chooser chooser_;
  int64_t query_stride_, out_stride_;
  Operand* query_;
  float* scores_;  // [row][stride_], then the weights as operands
  float* out_;
  float* weight_;      // of the group, one token's
  float* importance_;  // one token's
  Operand* value_;     // values that one token sees
  S* zeros_;           // instead of those that it does not
  Row* row_;
  const Operand** a_;
  float** c_;
  TokenTiles::Item tile_;
  int64_t rows_, keys_seen_, stride_;
};

// The (sequence, kv head) pairs [first, end).
template <class Dot, class E>
inline void AttendCompressed(const CompressAttentionParams& p, int64_t first, int64_t end) {
  using Worker = CompressedWorker<Dot, E>;
  const CompressedKeys<Dot, E> keys(p.in, kValueTile, p.attention_out != nullptr, first, end);
  keys.Pack(p.in.max_threads);
  const TokenTiles tiles(p.in, first, end);
  const Team team(tiles.size(), p.in.max_threads);
  Arena sizing;
  Worker(sizing, p);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_tile = 0;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena arena(memory.get() + member * size);
    Worker worker(arena, p);
    worker.Start();
    for (int64_t i; (i = TakeTask(&next_tile)) < tiles.size();) worker.Run(tiles.At(i), keys);
  });
}

template <class Dot, class E>
void CompressAttention(const CompressAttentionParams& p) {
  ForEachShareOfOwners<CompressedKeys<Dot, E>>(
      p.in, kValueTile, [&](int64_t first, int64_t end) { AttendCompressed<Dot, E>(p, first, end); });
}

}  // namespace
}  // namespace ms_nsa
