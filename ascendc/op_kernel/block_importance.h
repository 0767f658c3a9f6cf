// SPDX-License-Identifier: Apache-2.0
// The importance of select blocks for the tokens of a tile, and the choice of the most important ones. The
// cube adds up, step by step, the weights of windows times the rows that they share with blocks; what a step
// left goes by the running maximum of that time and is brought to the last one here.
#pragma once

#include "dense_buffers.h"
#include "dense_share.h"
#include "top_blocks.h"

namespace ms_nsa {

template <class T>
class BlockImportance {
 public:
  __aicore__ inline BlockImportance(const DenseParams& params, const DenseAddresses& gm,
                                    const DenseSource& source, const DenseExchange<T>& exchange,
                                    DenseBuffers& ub)
      : params_(params),
        p_(params.attention),
        source_(source),
        exchange_(exchange),
        ub_(ub),
        top_(params, ub),
        stride_(params.most_blocks) {
    indices_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.topk_indices));
  }

  __aicore__ inline void Start() { top_.Start(); }
  __aicore__ inline void Open() { AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kChosen); }
  __aicore__ inline void Close() { AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kChosen); }

  // The running maxima after a step.
  __aicore__ inline void StoreTop(const DenseStep& step, const Floats& top) {
    AscendC::DataCopy(exchange_.tops[TopAt(step.ordinal)], top, kStatRows);
  }

  // `step`: the last one of the tile; `piece` counts pieces through both slots of UB.
  __aicore__ inline void Choose(const DenseStep& step, const DenseShare& share, const RowStats& stats,
                                int64_t& piece) {
    AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(kTops);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(kTops);
    AscendC::Duplicate(ub_.Importance(), 0.0f, share.tokens * stride_);
    DivisorOf<T>(p_, ub_.Inverse(), stats.sum, kStatRows);
    AscendC::Duplicate(ub_.Factor(), 16.0f / params_.compress_stride, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Div(ub_.Inverse(), ub_.Factor(), ub_.Inverse(), kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    for (int32_t number = 0; number <= step.number; ++number) AddStep(step, number, share, stats, piece);
    ChooseAll(step.tile, share);
  }

  // For a tile that sees nothing: all candidates are equally important.
  __aicore__ inline void ChooseUnseen(const DenseTile& tile) {
    const DenseShare share = ShareOf(tile);
    if (share.tokens == 0) return;
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Duplicate(ub_.Importance(), 0.0f, share.tokens * stride_);
    AscendC::PipeBarrier<PIPE_V>();
    ChooseAll(tile, share);
  }

 private:
  static constexpr int32_t kScores = 0, kPieces = 2, kChosen = 5, kTops = 1;  // events, see DenseVector

  __aicore__ inline int64_t TopAt(int64_t ordinal) const {
    return (ordinal % PartSlots(params_) * kVectorCores + AscendC::GetSubBlockIdx()) * kStatRows;
  }

  __aicore__ inline void AddStep(const DenseStep& step, int32_t number, const DenseShare& share,
                                 const RowStats& stats, int64_t& piece) {
    const int32_t group = p_.group, blocks = params_.part_blocks, most = kPiece / blocks;
    const int32_t all = share.tokens * group, whole = group <= most ? most / group * group : most;
    const int64_t ordinal = step.ordinal - step.number + number,
                  slot_row = ordinal % PartSlots(params_) * kDenseRows;
    for (int32_t row = 0, rows = 0; row < all; row += rows) {
      const int32_t slot = piece++ % kSlots;
      rows = group <= most ? Min(whole, all - row) : Min(whole, group - row % group);
      const Floats part = ub_.Piece(slot);
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
      AscendC::DataCopy(part, exchange_.parts[(slot_row + share.first * group + row) * blocks],
                        rows * blocks);
      AscendC::DataCopy(ub_.Top(slot), exchange_.tops[TopAt(ordinal)], kStatRows);
      AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kPieces + slot);
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kPieces + slot);
      Weigh(part, ub_.Top(slot), row, rows, stats);
      AddRows(part, number * params_.step_blocks, row, rows);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kPieces + slot);
    }
  }

  // From exponentials under a running maximum to rows shared / stride * probability.
  __aicore__ inline void Weigh(const Floats& part, const Floats& top, int32_t row, int32_t rows,
                               const RowStats& stats) {
    const Floats spread = ub_.Scratch().spread, factor = ub_.Factor();
    AscendC::Sub(factor, top, stats.max, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(factor, factor, kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(factor, factor, ub_.Inverse(), kStatRows);
    AscendC::PipeBarrier<PIPE_V>();
    SpreadRows(spread, factor);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kMul>(part, spread[row * kBlockFloats], rows, params_.part_blocks, params_.part_blocks);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Sums over the query heads of each token, onto its importance from block `block` on.
  __aicore__ inline void AddRows(const Floats& part, int32_t block, int32_t row, int32_t rows) {
    const int32_t group = p_.group, blocks = params_.part_blocks, heads = Min(group, rows);
    const int32_t floats = heads * blocks, tokens = rows / heads;
    if (floats / kBlockFloats <= UINT8_MAX) {
      FoldHeads(part, tokens, heads);
    } else {
      for (int32_t i = 0; i < tokens; ++i) FoldVectors<false>(part[i * floats], heads, blocks);
    }
    for (int32_t i = 0; i < tokens; ++i) {
      const Floats to = ub_.Importance()[(row / group + i) * stride_ + block];
      AscendC::Add(to, to, part[i * floats], blocks);
    }
  }

  // FoldVectors of all tokens at once: a repeat is a token.
  __aicore__ inline void FoldHeads(const Floats& part, int32_t tokens, int32_t heads) {
    const int32_t blocks = params_.part_blocks;
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = params.src0RepStride = params.src1RepStride = heads * blocks / kBlockFloats;
    for (int32_t count = heads; count > 1; count = (count + 1) / 2) {
      const int32_t half = (count + 1) / 2, width = (count - half) * blocks;
      for (int32_t c = 0; c < width; c += kLanes) {
        AscendC::Add(part[c], part[c], part[half * blocks + c], static_cast<uint64_t>(Min(width - c, kLanes)),
                     tokens, params);
      }
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  __aicore__ inline void ChooseAll(const DenseTile& tile, const DenseShare& share) {
    for (int32_t slot = 0; slot < kSlots; ++slot)
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
    top_.ReplaceNan(share.tokens * stride_);
    for (int32_t i = 0; i < share.tokens; ++i) {
      const int64_t index = tile.index + share.first + i, token = tile.span.row + index;
      const Floats row = ub_.Importance()[i * stride_];
      const int64_t candidates = MarkRow(tile.span, index, row);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kChosen);
      const AscendC::LocalTensor<int32_t> chosen = ub_.Chosen(0);
      top_.Choose(row, candidates, chosen);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kChosen);
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kChosen);
      const uint32_t bytes = p_.select_block_count * 4;
      AscendC::DataCopyPad(indices_[(token * p_.kv_heads + tile.head) * p_.select_block_count], chosen,
                           {1, bytes, 0, 0, 0});
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kChosen);
    }
    for (int32_t slot = 0; slot < kSlots; ++slot)
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kScores + slot);
  }

  // What does not follow from importance: forced blocks, blocks that no window seen shares rows with (where
  // NaN reached them), blocks that are no candidates. Returns how many candidates there are.
  __aicore__ inline int64_t MarkRow(const Span& span, int64_t index, const Floats& row) {
    const int64_t size = p_.select_block_size, rows = RowsUpTo(params_, span, index);
    const int64_t candidates = Min<int64_t>(CeilDiv(rows, size), stride_);
    const int64_t windows = SeenBy(params_, span, index).rows();
    const int64_t last = (windows - 1) * params_.compress_stride + params_.compress_block_size - 1;
    FillPart(row, windows > 0 ? last / size + 1 : 0, candidates, 0.0f);
    AscendC::PipeBarrier<PIPE_V>();
    const int64_t position = PositionOf(params_, span, index);
    const int64_t own = position >= 0 ? position / size : -CeilDiv(-position, size);
    FillPart(row, 0, Min(params_.init_blocks, candidates), kForced);
    AscendC::PipeBarrier<PIPE_V>();
    FillPart(row, Max<int64_t>(own + 1 - params_.local_blocks, 0), Min(own + 1, candidates), kForced);
    FillPart(row, candidates, RoundUp<int64_t>(candidates, kLanes), kNoScore);
    AscendC::PipeBarrier<PIPE_V>();
    if (params_.topk_mask_cols > 0 && index < params_.topk_mask_rows)
      ForceMasked(row, index, Min(candidates, params_.topk_mask_cols));
    return candidates;
  }

  __aicore__ inline void ForceMasked(const Floats& row, int64_t index, int64_t candidates) {
    AscendC::SetFlag<AscendC::HardEvent::V_S>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(0);
    for (int64_t block = 0; block < candidates; ++block) {
      if (source_.Forced(index, block)) row.SetValue(block, kForced);
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(0);
  }

  const DenseParams& params_;
  const AttentionParams& p_;
  const DenseSource& source_;
  const DenseExchange<T>& exchange_;
  DenseBuffers& ub_;
  TopBlocks top_;
  int32_t stride_;  // floats from token to token
  AscendC::GlobalTensor<int32_t> indices_;
};

}  // namespace ms_nsa
