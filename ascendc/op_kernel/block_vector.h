// SPDX-License-Identifier: Apache-2.0
// The AIV's half of the block-outer forward: index, weights, results of one segment after the other.
#pragma once

#include "block_combine.h"
#include "block_weights.h"

namespace ms_nsa {

template <class T>
class BlockVector {
 public:
  __aicore__ inline BlockVector(const AttentionParams& params, const AttentionAddresses& gm,
                                AscendC::TPipe& pipe)
      : p_(params),
        source_(params, gm),
        index_{ForwardIndex(params, gm.workspace, 0), ForwardIndex(params, gm.workspace, 1)},
        exchange_{{params, gm.workspace, AscendC::GetBlockIdx() / kVectorCores, 0},
                  {params, gm.workspace, AscendC::GetBlockIdx() / kVectorCores, 1}},
        builder_(params, gm, ub_),
        weights_(params, gm, ub_),
        combine_(params, gm, source_, ub_) {
    ub_.Init(pipe, kInBytes, kOutBytes);
  }

  // While the tiles of a segment are worked on, the results of the one before are combined. One meeting of
  // all cores a segment: then its index is complete, and so are the results of the one before.
  __aicore__ inline void Run() {
    SegmentWalk<PackedSource> segments(p_, source_);
    Segment two[2];
    int32_t parity = 0;
    combine_.Open();
    for (; segments.Next(two[parity]); parity = 1 - parity) {
      builder_.Build(two[parity], index_[parity]);
      AscendC::SyncAll<false>();
      index_[parity].Invalidate();
      if (started_) combine_.Start(two[1 - parity], exchange_[1 - parity]);
      weights_.Run(source_, two[parity], index_[parity], exchange_[parity], combine_);
      combine_.Finish();
      started_ = true;
    }
    AscendC::SyncAll<false>();
    if (started_) combine_.Start(two[1 - parity], exchange_[1 - parity]);
    combine_.Finish();
    combine_.Close();
  }

 private:
  // The index takes turns with tiles and combining.
  static constexpr int32_t kInBytes = BlockCombine<T>::kInBytes, kOutBytes = BlockCombine<T>::kOutBytes;
  static_assert(BlockIndexBuilder::kInBytes <= kInBytes && BlockIndexBuilder::kOutBytes <= kOutBytes,
                "index");
  static_assert(kInBytes + kOutBytes <= kUbBytes, "UB");

  const AttentionParams& p_;
  PackedSource source_;
  BlockIndex index_[2];  // by parity of the segment, like the next
  BlockExchange<T> exchange_[2];
  UnifiedBuffer ub_;
  BlockIndexBuilder builder_;
  BlockWeights<T> weights_;
  BlockCombine<T> combine_;
  bool started_ = false;
};

}  // namespace ms_nsa
