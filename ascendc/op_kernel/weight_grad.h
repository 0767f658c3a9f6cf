// SPDX-License-Identifier: Apache-2.0
// Adds the pieces' parts of the weight's gradient, in an order that follows from their number alone: a tree
// over some pieces, these one after the other. The AIVs share the columns, which are [head][row of a window];
// weight is [row of a window][head].
#pragma once

#include "compress_limits.h"
#include "compress_params.h"
#include "core_split.h"
#include "row_vector.h"
#include "unified_buffer.h"

namespace ms_nsa {

template <class T>
class WeightGrad {
 public:
  __aicore__ inline WeightGrad(const CompressParams& params, UnifiedBuffer& ub, GM_ADDR workspace,
                               GM_ADDR weight_grad)
      : p_(params), ub_(ub), columns_(params.kv_heads * params.compress_block_size) {
    parts_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace));
    weight_grad_.SetGlobalBuffer(reinterpret_cast<__gm__ uint16_t*>(weight_grad));
  }

  __aicore__ inline void Run(int64_t pieces, int64_t core, int64_t cores) {
    const int64_t blocks = columns_ / kBlockFloats;
    const int64_t end = Quota(blocks, core + 1, cores) * kBlockFloats;
    for (int64_t column = Quota(blocks, core, cores) * kBlockFloats; column < end; column += kMergedColumns)
      Merge(pieces, column, Min<int64_t>(end - column, kMergedColumns));
  }

 private:
  static constexpr int32_t kTileFloats = kMergedPieces * kMergedColumns;
  static constexpr int32_t kNarrowAt = kMergedColumns * 4, kSpreadAt = kNarrowAt + kMergedColumns * 2;

 public:
  static constexpr int32_t kInBytes = kTileFloats * 4;
  static constexpr int32_t kOutBytes = kSpreadAt + kMergedColumns * 32;

 private:
  __aicore__ inline Floats Tile() { return ub_.In<float>(0, kTileFloats); }
  __aicore__ inline Floats Sum() { return ub_.Out<float>(0, kMergedColumns); }
  __aicore__ inline AscendC::LocalTensor<uint16_t> Narrow() {
    return ub_.Out<uint16_t>(kNarrowAt, kMergedColumns);
  }
  __aicore__ inline AscendC::LocalTensor<uint16_t> Spread() {
    return ub_.Out<uint16_t>(kSpreadAt, kMergedColumns * 16);
  }

  __aicore__ inline void Merge(int64_t pieces, int64_t column, int32_t width) {
    AscendC::Duplicate(Sum(), 0.0f, kMergedColumns);
    for (int64_t piece = 0; piece < pieces; piece += kMergedPieces) {
      const int32_t some = Min<int64_t>(pieces - piece, kMergedPieces);
      AscendC::PipeBarrier<PIPE_ALL>();
      AscendC::DataCopy(Tile(), parts_[piece * columns_ + column],
                        {static_cast<uint16_t>(some), static_cast<uint16_t>(width / kBlockFloats),
                         static_cast<uint16_t>((columns_ - width) / kBlockFloats), 0});
      AscendC::PipeBarrier<PIPE_ALL>();
      FoldVectors<false>(Tile(), some, width);
      AscendC::Add(Sum(), Sum(), Tile(), width);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Narrow().template ReinterpretCast<T>(), Sum(), AscendC::RoundMode::CAST_RINT,
                  kMergedColumns);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Brcb(Spread(), Narrow(), kMergedColumns / kBlockFloats, {1, kBlockFloats});
    AscendC::PipeBarrier<PIPE_ALL>();
    for (int32_t i = 0; i < width; i += kBlockFloats) Store(column + i, Spread()[i * 16]);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  // Eight columns are of one head.
  __aicore__ inline void Store(int64_t column, const AscendC::LocalTensor<uint16_t>& values) {
    const int64_t head = column / p_.compress_block_size, row = column % p_.compress_block_size;
    const uint32_t next = (p_.kv_heads - 1) * sizeof(T);
    AscendC::DataCopyPad(weight_grad_[row * p_.kv_heads + head], values,
                         {static_cast<uint16_t>(kBlockFloats), sizeof(T), 0, next, 0});
  }

  const CompressParams& p_;
  UnifiedBuffer& ub_;
  int64_t columns_;
  AscendC::GlobalTensor<float> parts_;
  AscendC::GlobalTensor<uint16_t> weight_grad_;
};

}  // namespace ms_nsa
