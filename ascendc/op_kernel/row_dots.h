// SPDX-License-Identifier: Apache-2.0
// delta = sum of grad * attention_out over a row, less what softmax_sum's gradient adds to all of its scores;
// eight times, for all rows of a segment, evenly over the AIVs.
#pragma once

#include "grad_exchange.h"
#include "row_vector.h"
#include "statistics_grad.h"

namespace ms_nsa {

template <class T, class Rule>
class RowDots {
 public:
  __aicore__ inline RowDots(const AttentionParams& params, const GradAddresses& gm,
                            const typename Rule::Source& source, UnifiedBuffer& ub)
      : p_(params),
        stride_(RoundUp(params.d2, kLanes)),
        ub_(ub),
        statistics_(params, gm, source, ub, kStatisticsInAt, kStatisticsOutAt) {
    grad_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.grad));
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.attention_out));
  }

  __aicore__ inline void Run(const Segment& segment, const GradExchange<T>& exchange) {
    const int64_t heads = int64_t{p_.kv_heads} * p_.group, rows = segment.tokens * heads;
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, core = AscendC::GetBlockIdx();
    const int64_t end = Quota(rows, core + 1, cores);
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::Duplicate(Dots(), 0.0f, kTile);  // rows are filled up to 64 columns
    AscendC::Duplicate(Stat(), 0.0f, kStatRows);
    if (HasStatisticsGrad(p_)) statistics_.Open(segment, Quota(rows, core, cores), end);
    AscendC::PipeBarrier<PIPE_V>();
    for (int64_t row = Quota(rows, core, cores); row < end; row += kRows) {
      const int32_t some = Min<int64_t>(end - row, kRows);
      Load(segment.row * heads + row, some);
      if (HasStatisticsGrad(p_)) statistics_.Weigh(row);
      Widen(some * p_.d2);
      Dot(some);
      if (HasStatisticsGrad(p_)) TakeStatistics(exchange, row, some);
      SpreadDots();
      AscendC::DataCopy(exchange.deltas[row * kBlockFloats], Spread(), some * kBlockFloats);
      AscendC::PipeBarrier<PIPE_ALL>();
    }
    if (HasStatisticsGrad(p_)) statistics_.Close(exchange);
  }

 private:
  static constexpr int32_t kRows = kStatRows, kTile = kRows * kMaxWidth;
  static constexpr int32_t kRawAt = 3 * kTile * 4;  // behind grad, attention_out and their products in float
  static constexpr int32_t kStatAt = kRows * kLanes * 4, kSpreadAt = kStatAt + kStatRows * 4;

 public:
  static constexpr int32_t kStatisticsInAt = kRawAt + 2 * kTile * 2;
  static constexpr int32_t kStatisticsOutAt = kSpreadAt + kStatRows * kBlockFloats * 4;
  static constexpr int32_t kInBytes = kStatisticsInAt + StatisticsGrad<T, Rule>::kInBytes;
  static constexpr int32_t kOutBytes = kStatisticsOutAt + StatisticsGrad<T, Rule>::kOutBytes;

 private:
  __aicore__ inline Floats Wide(int32_t number) { return ub_.In<float>(number * kTile * 4, kTile); }
  __aicore__ inline Floats Dots() { return Wide(2); }
  __aicore__ inline AscendC::LocalTensor<T> Raw(int32_t number) {
    return ub_.In<T>(kRawAt + number * kTile * 2, kTile);
  }
  __aicore__ inline Floats Fold() { return ub_.Out<float>(0, kRows * kLanes); }
  __aicore__ inline Floats Stat() { return ub_.Out<float>(kStatAt, kStatRows); }
  __aicore__ inline Floats Spread() { return ub_.Out<float>(kSpreadAt, kStatRows * kBlockFloats); }

  __aicore__ inline void Load(int64_t row, int32_t rows) {
    const int32_t elements = rows * p_.d2;
    AscendC::DataCopy(Raw(0), grad_[row * p_.d2], elements);
    AscendC::DataCopy(Raw(1), out_[row * p_.d2], elements);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvent);
  }

  __aicore__ inline void Widen(int32_t elements) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvent);
    AscendC::Cast(Wide(0), Raw(0), AscendC::RoundMode::CAST_NONE, elements);
    AscendC::Cast(Wide(1), Raw(1), AscendC::RoundMode::CAST_NONE, elements);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void Dot(int32_t rows) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = stride_ / kBlockFloats;
    params.src0RepStride = params.src1RepStride = p_.d2 / kBlockFloats;
    for (int32_t c = 0; c < p_.d2; c += kLanes) {
      const uint64_t lanes = Min(p_.d2 - c, kLanes);
      AscendC::Mul(Dots()[c], Wide(0)[c], Wide(1)[c], lanes, rows, params);
    }
    AscendC::PipeBarrier<PIPE_V>();
    ReduceRows<false>(Stat(), Dots(), Fold(), rows, stride_);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // The search for largest scores works where the dots were made.
  __aicore__ inline void TakeStatistics(const GradExchange<T>& exchange, int64_t row, int32_t rows) {
    if (statistics_.Take(Stat(), row, rows)) AscendC::Duplicate(Dots(), 0.0f, kTile);
    statistics_.Store(exchange, row, rows);
  }

  __aicore__ inline void SpreadDots() {
    SpreadRows(Spread(), Stat());
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvent);
  }

  static constexpr int32_t kEvent = 0;

  const AttentionParams& p_;
  int32_t stride_;
  UnifiedBuffer& ub_;
  StatisticsGrad<T, Rule> statistics_;
  AscendC::GlobalTensor<T> grad_, out_;
};

}  // namespace ms_nsa
