// SPDX-License-Identifier: Apache-2.0
#include "select_grad_tiling.h"

#include <algorithm>

#include "grad_workspace.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

constexpr const char* kOp = NsaSelectAttentionGrad::kName;

// The query gradients of two segments are under way at a time. They stay in L2 (192 MB), but where few tokens
// share a block, reading and writing its gradients once a segment costs more than that saves.
constexpr int64_t kSegmentBytes = int64_t{64} << 20, kMostSegmentBytes = int64_t{256} << 20;
constexpr int64_t kSharing = 4;  // tokens a block

// The parts of the last segment are added with the cubes idle: not too large a share of all, yet enough
// tokens to share a block.
constexpr int64_t kFewestSegments = 8, kSharingTokens = 128;

// The bound is FIX and the loads of the AIVs, and every piece adds to both.
constexpr int32_t kPieceTiles = 8;

int32_t SegmentTokens(const AttentionParams& p) {
  const int64_t token_bytes = int64_t{p.group} * p.d1 * 4 * p.kv_heads * p.select_block_count * StripsOf(p);
  const int64_t blocks = p.max_blocks / std::max<int64_t>(p.batch, 1);
  const int64_t sharing = kSharing * blocks / p.select_block_count;
  const int64_t wanted = std::max({CeilDiv<int64_t>(p.tokens, kFewestSegments), kSharingTokens, sharing});
  const int64_t fitting =
      std::min(std::max(kSegmentBytes / token_bytes, sharing), kMostSegmentBytes / token_bytes);
  const int64_t tokens = std::min({wanted, fitting, kSegmentEntries / int64_t{SlotStride(p)}, p.tokens});
  return static_cast<int32_t>(std::max<int64_t>(tokens, 1));
}

}  // namespace

Tiling TileSelectGrad(const SelectShapes& s, int32_t aic_cores) {
  Tiling tiling{};
  tiling.error = CheckAttention(kOp, s.attention, aic_cores);
  if (tiling.error.empty()) {
    tiling.error = FirstBroken(kOp, {{s.attention.select_block_count <= kSegmentEntries, "select_block_count",
                                      "be at most 8192", s.attention.select_block_count}});
  }
  if (!tiling.error.empty()) return tiling;
  tiling.params = PackedParams(s);
  AttentionParams& p = tiling.params;
  p.segment_tokens = SegmentTokens(p);
  p.piece_tiles = kPieceTiles;
  tiling.block_dim = aic_cores;
  const GradArea area = GradAreaOf(p, 0);
  tiling.workspace_bytes = area.cores + tiling.block_dim * area.core_bytes;
  return tiling;
}

Plan Tile(const NsaSelectAttentionGrad& op, int32_t aic_cores) {
  SelectShapes shapes = SelectShapesOf(op);
  shapes.has_max_grad = !op.softmax_max_grad.absent();
  shapes.has_sum_grad = !op.softmax_sum_grad.absent();
  return PlanOf(TileSelectGrad(shapes, aic_cores));
}

}  // namespace ms_nsa
