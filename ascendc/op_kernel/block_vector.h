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
        index_(params, gm.workspace),
        exchange_(params, gm.workspace, AscendC::GetBlockIdx() / kVectorCores),
        builder_(params, gm, ub_),
        weights_(params, index_, exchange_, ub_),
        combine_(params, gm, source_, exchange_, ub_) {
    pipe.InitBuffer(ub_, kUbBytes);
  }

  // The phases share UB; between them every pipe is empty. Building the next index needs no wait for the
  // other cores' results, and the first wait of the next segment covers both.
  __aicore__ inline void Run() {
    SegmentWalk<PackedSource> segments(p_, source_);
    Segment segment;
    while (segments.Next(segment)) {
      builder_.Build(segment);
      AscendC::SyncAll<false>();
      index_.Invalidate();
      weights_.Run(segment);
      AscendC::SyncAll<false>();
      combine_.Run(segment);
    }
  }

 private:
  static constexpr int32_t kUbBytes = 184 * 1024;  // what Select reserves lies behind

  const AttentionParams& p_;
  PackedSource source_;
  BlockIndex index_;
  BlockExchange<T> exchange_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> ub_;
  BlockIndexBuilder builder_;
  BlockWeights<T> weights_;
  BlockCombine<T> combine_;
};

}  // namespace ms_nsa
