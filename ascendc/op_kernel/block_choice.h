// SPDX-License-Identifier: Apache-2.0
// The choice of select blocks by the scores of compressed rows: each AIV takes whole tokens and kv heads. The
// order of all sums is fixed, so that neither the cores nor how a sequence was cut over them change an index.
//
//   weight[c]     = sum over the query heads of exp(scale * score - max) / sum
//   importance[j] = sum over the windows c of weight[c] * (rows that c shares with block j) / compress_stride
#pragma once

#include "attention_vector.h"
#include "block_choice_source.h"
#include "choice_buffers.h"

namespace ms_nsa {

template <>
class ChoiceOf<BlockChoiceSource> {
 public:
  static constexpr int32_t kInBytes = ChoiceBuffers::kInBytes, kOutBytes = ChoiceBuffers::kOutBytes;

  __aicore__ inline ChoiceOf(const BlockChoiceSource& source, const AttentionAddresses& gm)
      : source_(source),
        range_(source.range()),
        p_(range_.attention),
        scores_(source.KeptScores(gm.workspace)) {
    max_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_max));
    sum_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(gm.softmax_sum));
    chosen_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.topk_indices));
  }

  // All AIVs have left the statistics of the round's tokens.
  __aicore__ inline void Run(const TokenRange& range, UnifiedBuffer& unified) {
    if (p_.select_block_count == 0) return;
    const ChoiceBuffers ub{&unified};
    AscendC::PipeBarrier<PIPE_ALL>();
    MakeOffsets(ub);
    const int64_t index = AscendC::GetBlockIdx(), count = AscendC::GetBlockNum() * kVectorCores;
    BlockChoiceSource::Tokens tokens(p_, source_);
    for (; !tokens.Done() && (*tokens).row < range.end; tokens.Advance()) {
      if ((*tokens).row < range.first) continue;
      for (int32_t head = 0; head < p_.kv_heads; ++head) {
        if (((*tokens).row * p_.kv_heads + head) % count == index) Choose(ub, *tokens, head);
      }
    }
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  // Events: of every pair of pipes the one that attention has no use for.
  static constexpr int32_t kEvent = 4;
  static constexpr int32_t kPad = ChoiceBuffers::kPad;
  // Before all finite importances comes NaN, before that what is chosen in any case.
  static constexpr float kOfNan = 1.0e30f, kInAnyCase = 2.0e30f, kTaken = -1.0f;

  // In bytes, where the windows of `kTile` blocks begin.
  __aicore__ inline void MakeOffsets(const ChoiceBuffers& ub) {
    const AscendC::LocalTensor<int32_t> offsets = ub.Offsets();
    const int32_t step = static_cast<int32_t>(p_.select_block_size / range_.compress_stride * sizeof(float));
    for (int32_t i = 0; i < kBlockFloats; ++i) offsets.SetValue(i, i * step);
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    for (int32_t known = kBlockFloats; known < ChoiceBuffers::kTile; known *= 2) {
      AscendC::Adds(offsets[known], offsets, known * step, known);
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  __aicore__ inline void Choose(const ChoiceBuffers& ub, const Token& token, int32_t head) {
    const int64_t size = p_.select_block_size, last = token.visible - 1;
    const int64_t blocks = token.visible > 0 ? Min(last / size + 1, range_.most_blocks) : 0;
    if (blocks > 0) {
      AscendC::Duplicate(ub.Weights(), 0.0f, FilledWeights(blocks));
      AscendC::PipeBarrier<PIPE_V>();
      AddWeights(ub, token, head);
      FillImportance(ub, blocks);
      RankNan(ub, blocks);
      RankForced(ub, blocks, last / size);
    }
    Store(ub, token.row * p_.kv_heads + head, blocks);
  }

  // Floats of weights, the zeros before the first and after the last one included.
  __aicore__ inline int32_t FilledWeights(int64_t blocks) const {
    const int64_t windows = blocks * p_.select_block_size / range_.compress_stride + 1;
    return static_cast<int32_t>(RoundUp<int64_t>(kPad + windows, kLanes));
  }

  // Stretches of rows whose pages are there; scores have no columns for the others.
  __aicore__ inline void AddWeights(const ChoiceBuffers& ub, const Token& token, int32_t head) {
    const int64_t end = source_.RangeOf(token).end, page = p_.page_block_size;
    const int64_t row = token.row * p_.kv_heads + head, scores = source_.ScoresOf(token.row, head);
    if (end > 0) LoadStatistics(ub, row * p_.group);
    for (int64_t first = 0, column = 0; first < end;) {
      int64_t after = first;
      while (after < end && HasPage(token.sequence, after / page)) after = Min(after + page, end);
      for (int64_t at = first; at < after;) {
        const int32_t columns = Min<int64_t>(after - at, ChoiceBuffers::kColumns);
        AddTile(ub, scores + column, columns, static_cast<int32_t>(at));
        at += columns;
        column += columns;
      }
      first = after + (after < end ? page : 0);
    }
  }

  __aicore__ inline bool HasPage(int64_t sequence, int64_t slot) const {
    const int64_t page = source_.Page(sequence, slot);
    return page >= 0 && page < p_.num_blocks;
  }

  __aicore__ inline void LoadStatistics(const ChoiceBuffers& ub, int64_t row) {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    AscendC::DataCopy(ub.Max(), max_[row * kBlockFloats], p_.group * kBlockFloats);
    AscendC::DataCopy(ub.Sum(), sum_[row * kBlockFloats], p_.group * kBlockFloats);
  }

  // Weights of windows [window, window + columns), of all heads.
  __aicore__ inline void AddTile(const ChoiceBuffers& ub, int64_t scores, int32_t columns, int32_t window) {
    const int32_t stride = RoundUp(columns, kLanes);
    const Floats tile = ub.Scores();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvent);
    CopyScores(tile, scores_[scores], p_.group, columns, stride, static_cast<int32_t>(range_.score_floats));
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvent);
    ScaleScores(tile, p_.scale_value, p_.group, columns, stride);
    ApplyRows<RowOp::kSub>(tile, ub.Max(), p_.group, stride, stride);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(tile, tile, p_.group * stride);
    AscendC::PipeBarrier<PIPE_V>();
    ApplyRows<RowOp::kDiv>(tile, ub.Sum(), p_.group, stride, stride);
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<false>(tile, p_.group, stride);
    AscendC::Adds(ub.Weights()[kPad + window], tile, 0.0f, columns);
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void FillImportance(const ChoiceBuffers& ub, int64_t blocks) {
    const int32_t filled = static_cast<int32_t>(RoundUp<int64_t>(blocks, kLanes));
    AscendC::Duplicate(ub.Importance(), kTaken, filled);
    AscendC::PipeBarrier<PIPE_V>();
    if (p_.select_block_size % range_.compress_stride == 0) {
      for (int32_t first = 0; first < blocks; first += ChoiceBuffers::kTile)
        GatherImportance(ub, first, Min<int64_t>(blocks - first, ChoiceBuffers::kTile));
    } else {
      SumImportance(ub, static_cast<int32_t>(blocks));
    }
  }

  // Rows that a window shares with a block, from whose start on it begins `start` rows later.
  __aicore__ inline int64_t Shared(int64_t start) const {
    return Min<int64_t>(start + range_.compress_block_size, p_.select_block_size) - Max<int64_t>(start, 0);
  }

  // Blocks begin where a window does: the same share of each block's windows, one after the other.
  __aicore__ inline void GatherImportance(const ChoiceBuffers& ub, int32_t first, int32_t count) {
    const int64_t stride = range_.compress_stride, each = p_.select_block_size / stride;
    const Floats importance = ub.Importance()[first], term = ub.Term();
    const int64_t before = CeilDiv(range_.compress_block_size, stride) - 1;
    for (int64_t apart = -before; apart < each; ++apart) {
      const float share = static_cast<float>(Shared(apart * stride)) / static_cast<float>(stride);
      const uint32_t base = static_cast<uint32_t>((kPad + first * each + apart) * sizeof(float));
      const Floats to = apart == -before ? importance : term;
      AscendC::Gather(term, ub.Weights(), ub.Offsets().ReinterpretCast<uint32_t>(), base,
                      static_cast<uint32_t>(count));
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Muls(to, term, share, count);
      AscendC::PipeBarrier<PIPE_V>();
      if (apart > -before) AscendC::Add(importance, importance, term, count);
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  // Blocks that begin anywhere, by the scalar unit: sizes that nobody trains with.
  __aicore__ inline void SumImportance(const ChoiceBuffers& ub, int32_t blocks) {
    const int64_t stride = range_.compress_stride, size = p_.select_block_size;
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = block * size;
      const int64_t earliest = CeilDiv(Max<int64_t>(begin - range_.compress_block_size + 1, 0), stride);
      float sum = 0;
      for (int64_t window = earliest; window * stride < begin + size; ++window) {
        const float share = static_cast<float>(Shared(window * stride - begin)) / static_cast<float>(stride);
        sum += ub.Weights().GetValue(kPad + window) * share;
      }
      ub.Importance().SetValue(block, sum);
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
  }

  __aicore__ inline void RankNan(const ChoiceBuffers& ub, int64_t blocks) {
    const uint32_t filled = static_cast<uint32_t>(RoundUp<int64_t>(blocks, kLanes));
    const Floats importance = ub.Importance();
    AscendC::Compare(ub.Numbers(), importance, importance, AscendC::CMPMODE::EQ, filled);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Select(importance, ub.Numbers(), importance, kOfNan, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE,
                    filled);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
  }

  __aicore__ inline void RankForced(const ChoiceBuffers& ub, int64_t blocks, int64_t own) {
    const int64_t init = Min(range_.init_blocks, blocks), local = Max(own - range_.local_blocks + 1, init);
    for (int64_t block = 0; block < init; ++block) ub.Importance().SetValue(block, kInAnyCase);
    for (int64_t block = local; block <= own && block < blocks; ++block)
      ub.Importance().SetValue(block, kInAnyCase);
  }

  // The most important blocks in ascending order, the smaller one among equals, then -1.
  __aicore__ inline void Store(const ChoiceBuffers& ub, int64_t row, int64_t blocks) {
    const int32_t count = p_.select_block_count, found = Min<int64_t>(blocks, count);
    int32_t chosen[kMostChosen];
    for (int32_t i = 0; i < found; ++i) Insert(chosen, i, TakeLargest(ub, blocks));
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_S>(kEvent);
    for (int32_t i = 0; i < count; ++i) ub.Chosen().SetValue(i, i < found ? chosen[i] : -1);
    AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(kEvent);
    const uint32_t bytes = count * sizeof(int32_t);
    AscendC::DataCopyPad(chosen_[row * count], ub.Chosen(), {1, bytes, 0, 0, 0});
  }

  __aicore__ inline int32_t TakeLargest(const ChoiceBuffers& ub, int64_t blocks) {
    const int32_t filled = static_cast<int32_t>(RoundUp<int64_t>(blocks, kLanes));
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::ReduceMax(ub.Largest(), ub.Importance(), ub.Term(), filled, true);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
    const int32_t block = ub.Largest().ReinterpretCast<int32_t>().GetValue(1);
    ub.Importance().SetValue(block, kTaken);
    return block;
  }

  __aicore__ inline static void Insert(int32_t* ascending, int32_t length, int32_t number) {
    int32_t at = length;
    for (; at > 0 && ascending[at - 1] > number; --at) ascending[at] = ascending[at - 1];
    ascending[at] = number;
  }

  const BlockChoiceSource& source_;
  const PagedRangeParams& range_;
  const AttentionParams& p_;
  AscendC::GlobalTensor<float> scores_, max_, sum_;
  AscendC::GlobalTensor<int32_t> chosen_;
};

}  // namespace ms_nsa
