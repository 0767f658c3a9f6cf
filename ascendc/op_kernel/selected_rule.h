// SPDX-License-Identifier: Apache-2.0
// What the gradient needs to know about selected blocks: how tokens, blocks and slots belong together.
#pragma once

#include "block_index.h"
#include "grad_workspace.h"
#include "row_walk.h"

namespace ms_nsa {

struct SelectedRule {
  using Source = PackedSource;
  using Segments = SegmentWalk<PackedSource>;
  using Index = BlockIndex;
  using Builder = BlockIndexBuilder;
  using Rows = RowWalk<PackedSource>;

  static __aicore__ inline Index IndexOf(const Source&, const Segment&, const BlockIndex& built) {
    return built;
  }

  static constexpr bool kIndexed = true;  // tiles need what Builder makes of the segment

  // Of a slot of a token; below 0: none.
  static __aicore__ inline int64_t BlockOf(const AttentionParams&, const Source& source,
                                           const Segment& segment, int64_t token, int32_t head,
                                           int32_t slot) {
    return source.Index(segment.row + token, head, slot);
  }

  static __aicore__ inline Rows RowsOf(const AttentionParams& params, const Source& source,
                                       const Segment& segment, int64_t token, int32_t head) {
    const Token row{segment.row + token, 0, segment.index + token, segment.Visible(params, token),
                    segment.kv_start,    0};
    return {params, source, row, head};
  }

  // Parts of a token's query gradients lie side by side in sums, as few tokens have a slot in common with the
  // token before: place of the first part, in units of group * d1 floats, and how far it is to the next.
  static constexpr bool kTokensTouch = false;
  static __aicore__ inline int64_t FirstPart(const AttentionParams& p, int64_t token, int32_t head) {
    return (token * p.kv_heads + head) * p.select_block_count * StripsOf(p);
  }
  static __aicore__ inline int64_t PartStep(const AttentionParams&) { return 1; }

  static constexpr bool kGaps = true;  // segments that select a block may lie apart
  static __aicore__ inline bool Starts(const Source&, const Segment& segment, int64_t) {
    return segment.index == 0;
  }
  static __aicore__ inline bool Ends(const Source&, const Segment& segment, int64_t) {
    return segment.index + segment.tokens == segment.q_len;
  }

  // Of the entry's token, no earlier slot lists the tile's block.
  static __aicore__ inline bool IsFirst(const AttentionParams& params, const Source& source,
                                        const Segment& segment, const Tile& tile, int32_t entry) {
    const int32_t token = entry / SlotStride(params), slot = entry % SlotStride(params);
    for (int32_t earlier = 0; earlier < slot; ++earlier) {
      const int64_t block = source.Index(segment.row + token, tile.head, earlier);
      if (block == tile.row / params.select_block_size) return false;
    }
    return true;
  }
};

}  // namespace ms_nsa
