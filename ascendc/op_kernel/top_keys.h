// SPDX-License-Identifier: Apache-2.0
// Which key has the largest score of a row, for the few rows that ask. The AIV computes their scores itself:
// neither the forward nor the cube of the gradient keeps one.
#pragma once

#include "gm_source.h"
#include "row_vector.h"
#include "row_walk.h"
#include "unified_buffer.h"

namespace ms_nsa {

// Of the query heads of a token that share a kv head. Takes UB's half for loads up to kInBytes, and kOutBytes
// of the other one from offset `out_at` on.
template <class T>
class TopKeys {
 public:
  __aicore__ inline TopKeys(const AttentionParams& params, const AttentionAddresses& gm, UnifiedBuffer& ub,
                            int32_t out_at)
      : p_(params), stride_(RoundUp(params.d1, kLanes)), ub_(ub), out_at_(out_at) {
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.query));
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
  }

  // For `count` heads, of which query row `row` is the first. Rows gives Next(limit), the rows that they see.
  template <class Rows>
  __aicore__ inline void Find(Rows walk, int64_t kv_start, int32_t head, int64_t row, int32_t count) {
    LoadQueries(row, count);
    for (int32_t i = 0; i < count; ++i) key_of_[i] = -1;
    RowRun run = walk.Next(kKeys), next{};
    int32_t slot = 0;
    if (run.rows > 0) LoadKeys(run, head, slot);
    for (; run.rows > 0; run = next, slot = 1 - slot) {
      next = walk.Next(kKeys);
      if (next.rows > 0) LoadKeys(next, head, 1 - slot);
      Widen(1, slot, run.rows);
      Score(run.rows, count);
      Compare(run.cache_row - kv_start, count);
    }
  }

  // Row of the sequence of head i's largest score, the first one where several are equal; -1: it sees
  // nothing.
  __aicore__ inline int64_t operator[](int32_t i) const { return key_of_[i]; }

 private:
  static constexpr int32_t kKeys = 32, kTile = kKeys * kMaxWidth;
  static_assert(kKeys >= kMaxGroup, "rows of a tile");
  static constexpr int32_t kRawAt = 3 * kTile * 4;  // behind queries, keys and products in float
  static constexpr int32_t kScoresAt = kKeys * kLanes * 4, kTopAt = kScoresAt + kMaxGroup * kKeys * 4;

 public:
  static constexpr int32_t kInBytes = kRawAt + kSlots * kTile * 2;
  static constexpr int32_t kOutBytes = kTopAt + kMaxGroup * kBlockFloats * 4;

 private:
  __aicore__ inline Floats Wide(int32_t number) { return ub_.In<float>(number * kTile * 4, kTile); }
  __aicore__ inline AscendC::LocalTensor<T> Raw(int32_t slot) {
    return ub_.In<T>(kRawAt + slot * kTile * 2, kTile);
  }
  __aicore__ inline Floats Out(int32_t at, int32_t floats) { return ub_.Out<float>(out_at_ + at, floats); }
  __aicore__ inline Floats Scores() { return Out(kScoresAt, kMaxGroup * kKeys); }
  __aicore__ inline Floats Tops() { return Out(kTopAt, kMaxGroup * kBlockFloats); }

  __aicore__ inline void LoadQueries(int64_t row, int32_t count) {
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::DataCopy(Raw(0), query_[row * p_.d1], count * p_.d1);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kLoaded);
    Widen(0, 0, count);
    AscendC::Duplicate(Wide(2), 0.0f, kTile);  // products are filled up to 64 columns
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  // Into a slot whose keys have been scored: Compare waited for that.
  __aicore__ inline void LoadKeys(const RowRun& run, int32_t head, int32_t slot) {
    const uint32_t bytes = p_.d1 * sizeof(T), skip = (p_.kv_heads - 1) * bytes;
    AscendC::DataCopyPad(Raw(slot), key_[(run.cache_row * p_.kv_heads + head) * p_.d1],
                         {static_cast<uint16_t>(run.rows), bytes, skip, 0, 0}, {false, 0, 0, T{}});
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kLoaded + slot);
  }

  __aicore__ inline void Widen(int32_t number, int32_t slot, int32_t rows) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kLoaded + slot);
    AscendC::Cast(Wide(number), Raw(slot), AscendC::RoundMode::CAST_NONE, rows * p_.d1);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Largest score of each head among `rows` keys, and its number, side by side.
  __aicore__ inline void Score(int32_t rows, int32_t count) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = stride_ / kBlockFloats;
    params.src0RepStride = p_.d1 / kBlockFloats;
    params.src1RepStride = 0;
    for (int32_t i = 0; i < count; ++i) {
      for (int32_t c = 0; c < p_.d1; c += kLanes) {
        const uint64_t lanes = Min(p_.d1 - c, kLanes);
        AscendC::Mul(Wide(2)[c], Wide(1)[c], Wide(0)[i * p_.d1 + c], lanes, rows, params);
      }
      AscendC::PipeBarrier<PIPE_V>();
      ReduceRows<false>(Scores()[i * kKeys], Wide(2), Out(0, kKeys * kLanes), rows, stride_);
      AscendC::PipeBarrier<PIPE_V>();
    }
    AscendC::Muls(Scores(), Scores(), p_.scale_value, count * kKeys);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::WholeReduceMax(Tops(), Scores(), rows, count, kBlockFloats / 2, 1, kKeys / kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
  }

  __aicore__ inline void Compare(int64_t first_key, int32_t count) {
    const AscendC::LocalTensor<uint32_t> places = Tops().template ReinterpretCast<uint32_t>();
    for (int32_t i = 0; i < count; ++i) {
      const float score = Tops().GetValue(i * kBlockFloats);
      const int64_t key = first_key + places.GetValue(i * kBlockFloats + 1);
      const bool none = key_of_[i] < 0;
      if (!none && (score < score_of_[i] || (score == score_of_[i] && key > key_of_[i]))) continue;
      key_of_[i] = key;
      score_of_[i] = score;
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
  }

  // The latter two of (MTE2, V): the gradients of the next rows may be on their way under 1.
  static constexpr int32_t kEvent = 0, kLoaded = 2;

  const AttentionParams& p_;
  int32_t stride_;
  UnifiedBuffer& ub_;
  int32_t out_at_;
  AscendC::GlobalTensor<T> query_, key_;
  float score_of_[kMaxGroup];
  int64_t key_of_[kMaxGroup];
};

}  // namespace ms_nsa
