// SPDX-License-Identifier: Apache-2.0
// Tilings of MsNsaWindowAttentionGrad and MsNsaCompressAttentionGrad.
#include <algorithm>

#include "attention_tiling.h"
#include "dense_params.h"
#include "grad_workspace.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

// Query gradients of a segment stay in L2 as those of selected attention do, unless strips are then seen by
// so few tokens that the pieces of their gradients cost more.
constexpr int64_t kSegmentBytes = int64_t{64} << 20, kMostSegmentBytes = int64_t{256} << 20;
constexpr int64_t kSharingTokens = 512;

// The cubes wait between segments. They are idle while the parts of the last one, a quarter of the others,
// are added.
constexpr int64_t kFewestSegments = 4;

// Cores share a segment in pieces: with many small ones, every core gets about the same number. MTE1 hides
// what more pieces cost.
constexpr int32_t kPieceTiles = 4;

constexpr int64_t kFlagBytes = 32, kFlagRows = 64;  // of key_check.h

int32_t SegmentTokens(const DenseParams& d) {
  const AttentionParams& p = d.attention;
  const int64_t bytes = int64_t{p.group} * p.d1 * 4 * p.kv_heads * p.select_block_count;
  const int64_t sharing = std::max(kSharingTokens, 2 * std::min<int64_t>(d.window_size, p.kv_rows));
  const int64_t wanted = std::max(CeilDiv<int64_t>(p.tokens, kFewestSegments), kSharingTokens);
  const int64_t fitting = std::min(std::max(kSegmentBytes / bytes, sharing), kMostSegmentBytes / bytes);
  return static_cast<int32_t>(std::max<int64_t>(std::min({wanted, fitting, p.tokens}), 1));
}

// Blocks that a segment's tokens may see, and room for the flags of all keys.
int64_t MostBlocks(const DenseParams& d) {
  const AttentionParams& p = d.attention;
  int64_t blocks = CeilDiv<int64_t>(p.kv_rows, p.select_block_size);
  if (d.key_rule == kWindowRows)
    blocks = std::min(blocks, p.segment_tokens / int64_t{p.select_block_size} + p.select_block_count + 2);
  const int64_t flags = CeilDiv<int64_t>(p.kv_rows, kFlagRows) * kFlagBytes;
  return std::max(blocks, CeilDiv<int64_t>(flags, kMaskWords * 8));
}

// The part of the parameters that both have; `d` holds the rule.
template <class Operator>
Plan TileRangedGrad(const Operator& op, AttentionShapes shapes, DenseParams d, int32_t aic_cores) {
  shapes.head_num = op.N1;
  shapes.key_value_head_num = op.N2;
  shapes.d1 = op.D1;
  shapes.d2 = op.D2;
  shapes.default_scale = op.default_scale != 0;
  shapes.scale_value = op.scale_value;
  shapes.debug = op.debug != 0;
  const int64_t strip = std::min<int64_t>(RoundDown<int64_t>(kGrowing / (op.D1 + op.D2), 16), kColumns);
  const int64_t strips = std::max<int64_t>(CeilDiv<int64_t>(op.T2, strip), 1);
  const bool window = d.key_rule == kWindowRows;
  shapes.select_block_size = strip;
  shapes.select_block_count = window ? std::min(strips, CeilDiv(d.window_size - 1, strip) + 1) : strips;
  AttentionParams& p = d.attention;
  FillAttention(shapes, p);
  p.batch = op.B;
  p.tokens = op.T1;
  p.kv_rows = op.T2;
  p.has_q_lens = !op.actual_seq_qlen.absent();
  p.has_kv_lens = p.has_q_lens || !op.actual_seq_kvlen.absent();
  p.statistics = 1;
  p.has_max_grad = !op.softmax_max_grad.absent();
  p.has_sum_grad = !op.softmax_sum_grad.absent();
  d.kv_lens_given = !op.actual_seq_kvlen.absent();
  d.raw_rows = window ? op.T2 : op.T1;
  p.segment_tokens = SegmentTokens(d);
  p.piece_tiles = kPieceTiles;
  p.max_blocks = MostBlocks(d);
  const GradArea area = GradAreaOf(p, 0);
  return MakePlan(d, aic_cores, area.cores + aic_cores * area.core_bytes);
}

}  // namespace

Plan Tile(const NsaWindowAttentionGrad& op, int32_t aic_cores) {
  DenseParams d{};
  AttentionShapes shapes{};
  d.key_rule = kWindowRows;
  d.window_size = op.window_size;
  shapes.sparse_mode = kRightDownCausal;
  return TileRangedGrad(op, shapes, d, aic_cores);
}

Plan Tile(const NsaCompressAttentionGrad& op, int32_t aic_cores) {
  DenseParams d{};
  AttentionShapes shapes{};
  d.key_rule = kCompressedRows;
  d.compress_block_size = static_cast<int32_t>(op.compress_block_size);
  d.compress_stride = static_cast<int32_t>(op.compress_stride);
  shapes.sparse_mode = op.sparse_mode;
  if (!op.atten_mask.absent()) {
    shapes.atten_mask_rows = op.atten_mask.shape[0];
    shapes.atten_mask_cols = op.atten_mask.shape[1];
  }
  return TileRangedGrad(op, shapes, d, aic_cores);
}

}  // namespace ms_nsa
