// SPDX-License-Identifier: Apache-2.0
// One (key tile, rows) step of the gradient: the gradient of the softmax and five matrix products.
#pragma once

#include "../careful.h"
#include "../pack.h"
#include "softmax_grad.h"

namespace ms_nsa {
namespace {

// Rows of a token chunk.
template <class Dot>
struct ChunkRows {
  typename Dot::Operand* query;  // [row][query_stride]
  typename Dot::Operand* grad;   // [row][grad_stride], gradient of attention_out
  int64_t query_stride, grad_stride;
  SavedStatistics saved;
};

// fp32 gradients of the kv rows of one sequence and head.
struct KvGrads {
  float* dk;  // [kv row][dk_stride]
  float* dv;
  int64_t dk_stride, dv_stride;
};

template <class Dot, class E>
class BackwardTile {
 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  using Storage = typename E::Storage;
  using Batch = RowBatch<kBackwardRows>;

  BackwardTile(Arena& arena, const PackedAttentionInputs& in)
      : in_(in),
        key_t_(arena.Take<Operand>(PackedSize<Dot>(in.d1, kKeyTile))),
        value_t_(arena.Take<Operand>(PackedSize<Dot>(in.d2, kKeyTile))),
        key_(arena.Take<Operand>(PackedSize<Dot>(kKeyTile, in.d1))),
        visible_keys_(arena, kKeyTile, in.d1),
        rows_(arena.Take<Operand>(PackedSize<Dot>(kBackwardRows, Max(in.d1, in.d2)))),
        scores_(arena.Take<float>(kBackwardRows * kKeyTile)),
        dp_(arena.Take<float>(kBackwardRows * kKeyTile)) {
    operands_.ds_rows = arena.Take<Operand>(kBackwardRows * kKeyTile);
    operands_.ds_depth = Dot::kPair == 1 ? operands_.ds_rows : arena.Take<Operand>(kBackwardRows * kKeyTile);
    operands_.p_depth = arena.Take<Operand>(kBackwardRows * kKeyTile);
    for (int r = 0; r < kBackwardRows; ++r) {
      score_row_[r] = scores_ + r * kKeyTile;
      dp_row_[r] = dp_ + r * kKeyTile;
      ds_row_[r] = operands_.ds_rows + r * kKeyTile;
    }
    for (int key = 0; key < kKeyTile; ++key) {
      ds_key_[key] = operands_.ds_depth + key * Dot::kPair;
      p_key_[key] = operands_.p_depth + key * Dot::kPair;
    }
  }

  // Makes the keys [tile.first_key, + tile.keys) of this sequence and head current.
  void Open(const Sequence& seq, int64_t head, const KeyTile& tile, const KvGrads& grads) {
    const int64_t kv_row = (seq.kv_start + tile.first_key) * in_.n2 + head;
    key_stride_ = in_.n2 * in_.d1;
    key_rows_ = static_cast<const Storage*>(in_.key) + kv_row * in_.d1;
    keys_ = tile.keys;
    first_key_ = tile.first_key;
    PackTransposed<Dot, E>(key_rows_, key_stride_, keys_, in_.d1, key_t_);
    PackTransposed<Dot, E>(static_cast<const Storage*>(in_.value) + kv_row * in_.d2, in_.n2 * in_.d2, keys_,
                           in_.d2, value_t_);
    key_finite_ = PackInterleaved<Dot, E>([this](int64_t i) { return key_rows_ + i * key_stride_; }, keys_,
                                          in_.d1, key_);
    for (int64_t key = 0; key < keys_; ++key) {
      dk_row_[key] = grads.dk + (tile.first_key + key) * grads.dk_stride;
      dv_row_[key] = grads.dv + (tile.first_key + key) * grads.dv_stride;
    }
  }

  // Adds the batch's share of dQ to `share`.
  void Run(const Batch& batch, const ChunkRows<Dot>& chunk, const GradShare<V>& share) {
    for (int64_t r = 0; r < batch.count; ++r) {
      query_row_[r] = chunk.query + batch.row[r] * chunk.query_stride;
      grad_row_[r] = chunk.grad + batch.row[r] * chunk.grad_stride;
      dq_row_[r] = share.gradient(batch.row[r]);
      sums_[r] = share.sums(batch.row[r]);
    }
    ScoreGrad(batch, chunk.saved, share);
    QueryGrad(batch);
    KeyGrad(batch);
    ValueGrad(batch);
  }

 private:
  using Element = typename Dot::Element;

  void ScoreGrad(const Batch& batch, const SavedStatistics& saved, const GradShare<V>& share) {
    const int64_t vectors = CeilDiv(keys_, V::kLanes);
    seen_ = SeenBy<V>(batch, keys_);
    const PackedB<Dot> key{key_t_, CeilDiv(in_.d1, Dot::kPair), vectors};
    const PackedB<Dot> value{value_t_, CeilDiv(in_.d2, Dot::kPair), vectors};
    GemmPart<Dot>(batch.count, query_row_, Dot::kPair, key, KeyColumns(seen_, key), score_row_, Init::kZero);
    GemmPart<Dot>(batch.count, grad_row_, Dot::kPair, value, KeyColumns(seen_, value), dp_row_, Init::kZero);
    if constexpr (Dot::kBalanced) NoteTops(batch, saved, share);
    if (batch.all_visible && !batch.repeated && keys_ % V::kLanes == 0) {
      SoftmaxGrad<Dot, false>(batch, seen_, in_.scale_value, scores_, dp_, saved, sums_, operands_);
    } else {
      SoftmaxGrad<Dot, true>(batch, seen_, in_.scale_value, scores_, dp_, saved, sums_, operands_);
    }
  }

  void NoteTops(const Batch& batch, const SavedStatistics& saved, const GradShare<V>& share) const {
    const int64_t first = seen_.first * V::kLanes;
    for (int64_t r = 0; r < batch.count; ++r) {
      const int64_t row = batch.row[r];
      NoteTop(share, row, score_row_[r] + first, seen_.end - seen_.first, in_.scale_value, saved.shift[row],
              saved.inverse[row], batch.visible[r] >> first, first_key_ + first);
    }
  }

  void QueryGrad(const Batch& batch) {
    const PackedB<Dot> key{key_, CeilDiv(keys_, Dot::kPair), CeilDiv(in_.d1, V::kLanes)};
    const PartOfB part = KeySteps(seen_, key);
    if (key_finite_ || batch.all_visible)
      return GemmPart<Dot>(batch.count, ds_row_, Dot::kPair, key, part, dq_row_, Init::kLoad);
    ForEachView(batch, [&](int64_t first, int64_t end, uint64_t visible) {
      const PackedB<Dot> seen = visible_keys_.Pack(visible, key_rows_, key_stride_, keys_);
      GemmPart<Dot>(end - first, ds_row_ + first, Dot::kPair, seen, part, dq_row_ + first, Init::kLoad);
    });
  }

  void KeyGrad(const Batch& batch) { Accumulate(batch, query_row_, in_.d1, ds_key_, dp_row_, dk_row_); }
  void ValueGrad(const Batch& batch) { Accumulate(batch, grad_row_, in_.d2, p_key_, score_row_, dv_row_); }

  // to[key] += sum over rows of weight[row][key] * rows[row]
  void Accumulate(const Batch& batch, const Operand* const* rows, int64_t width, const Operand* const* weight,
                  const float* const* weight_row, float* const* to) {
    const bool finite =
        PackInterleaved<Dot, Element>([=](int64_t i) { return rows[i]; }, batch.count, width, rows_);
    if (finite || batch.all_visible) {
      const PackedB<Dot> packed{rows_, CeilDiv(batch.count, Dot::kPair), CeilDiv(width, V::kLanes)};
      const int64_t first = seen_.first * V::kLanes, end = Min(seen_.end * V::kLanes, keys_);
      return Gemm<Dot>(end - first, weight + first, kKeyTile * Dot::kPair, packed, to + first, Init::kLoad);
    }
    for (int64_t r = 0; r < batch.count; ++r) {
      ForEachVisible(batch.visible[r], [&](int64_t key) {
        AddScaledRow<V, Element>(to[key], weight_row[r][key], rows[r], width);
      });
    }
  }

  const PackedAttentionInputs& in_;
  Operand* key_t_;    // for scores
  Operand* value_t_;  // for dP
  Operand* key_;      // for dQ
  const RowsInView<Dot, E> visible_keys_;
  Operand* rows_;  // query or grad rows of the batch, for dK and dV
  float* scores_;
  float* dp_;
  GradOperands<Dot> operands_;
  const Storage* key_rows_ = nullptr;
  int64_t key_stride_ = 0, keys_ = 0, first_key_ = 0;
  bool key_finite_ = true;
  SeenVectors seen_;  // of the batch
  const Operand* query_row_[kBackwardRows];
  const Operand* grad_row_[kBackwardRows];
  const Operand* ds_row_[kBackwardRows];
  float* dq_row_[kBackwardRows];
  float* sums_[kBackwardRows];
  float* score_row_[kBackwardRows];
  float* dp_row_[kBackwardRows];
  const Operand* ds_key_[kKeyTile];
  const Operand* p_key_[kKeyTile];
  float* dk_row_[kKeyTile];
  float* dv_row_[kKeyTile];
};

}  // namespace
}  // namespace ms_nsa
