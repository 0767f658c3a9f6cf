// SPDX-License-Identifier: Apache-2.0
#include "select_tiling.h"

#include <algorithm>

#include "block_workspace.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

// Results of two segments are under way at a time; they stay in L2 (192 MB).
constexpr int64_t kSegmentBytes = int64_t{64} << 20;

// The results of the last segment are combined with the cubes idle: not too large a share of all, yet enough
// tokens to share a block.
constexpr int64_t kFewestSegments = 8, kSharingTokens = 128;

int32_t SegmentTokens(const AttentionParams& p) {
  const int64_t entry_bytes = int64_t{p.group} * (p.d2 + 2 * kLaneFloats) * 4;
  const int64_t token_bytes = entry_bytes * p.kv_heads * p.select_block_count;
  const int64_t wanted = std::max(CeilDiv<int64_t>(p.tokens, kFewestSegments), kSharingTokens);
  const int64_t most = std::min(kSegmentEntries / int64_t{SlotStride(p)}, kSegmentBytes / token_bytes);
  const int64_t tokens = std::min(wanted, most);
  return static_cast<int32_t>(std::max<int64_t>(tokens, 0));
}

// Bytes moved for one token and kv head. Token-outer reads the selected rows of key and value. Block-outer
// reads them once for all tokens of a segment that selected the block; it passes the queries through UB,
// group rows at a time, at the cost of about kCopyRows rows; and it moves scores (float, out and in), weights
// (16 bit, out and in) and each entry's result (float, out and in).
constexpr double kCopyRows = 20;

bool BlockOuterPays(const AttentionParams& p, int64_t batch, int64_t tokens) {
  const double sequence_tokens = static_cast<double>(p.tokens) / batch;
  const double blocks = std::max(1.0, static_cast<double>(p.kv_rows) / batch / p.select_block_size);
  const double entries = std::min<double>(p.select_block_count, blocks);
  const double sharing = std::min<double>(tokens, sequence_tokens) * entries / blocks;
  const double kv_bytes = entries * p.select_block_size * 2.0 * (p.d1 + p.d2);
  const double query_bytes = entries * std::max<double>(p.group, kCopyRows) * 2.0 * p.d1;
  const double score_bytes = entries * p.group * 12.0 * p.select_block_size;
  const double result_bytes = entries * p.group * 8.0 * (p.d2 + 2 * kLaneFloats);
  return sharing >= 1 && kv_bytes / sharing + query_bytes + score_bytes + result_bytes < kv_bytes;
}

bool UseBlockOuter(const AttentionParams& p, Schedule schedule, int64_t tokens) {
  if (schedule == Schedule::kTokenOuter || p.atten_mask_cols > 0 || tokens < 1) return false;
  if (p.group * p.d2 > kMaxEntryFloats) return false;
  return schedule == Schedule::kBlockOuter || BlockOuterPays(p, std::max<int64_t>(p.batch, 1), tokens);
}

}  // namespace

AttentionParams PackedParams(const SelectShapes& s) {
  AttentionParams p{};
  p.batch = s.batch;
  p.tokens = s.t1;
  p.kv_rows = s.t2;
  p.has_q_lens = s.has_q_lens;
  p.has_kv_lens = s.has_kv_lens;
  p.statistics = true;
  p.has_max_grad = s.has_max_grad;
  p.has_sum_grad = s.has_sum_grad;
  FillAttention(s.attention, p);
  p.max_blocks = CeilDiv<int64_t>(s.t2, p.select_block_size);
  return p;
}

Tiling TileSelect(const SelectShapes& s, int32_t aic_cores, Schedule schedule) {
  Tiling tiling{};
  tiling.error = CheckAttention(NsaSelectAttention::kName, s.attention, aic_cores);
  if (!tiling.error.empty()) return tiling;
  tiling.params = PackedParams(s);
  AttentionParams& p = tiling.params;
  PlanCores(s.t2, aic_cores, tiling);
  const int32_t tokens = SegmentTokens(p);
  if (UseBlockOuter(p, schedule, tokens)) {
    p.segment_tokens = tokens;
    tiling.block_dim = aic_cores;
    const BlockArea area = BlockAreaOf(p, 0);
    tiling.workspace_bytes = area.cores + tiling.block_dim * area.core_bytes;
  }
  return tiling;
}

Plan Tile(const NsaSelectAttention& op, int32_t aic_cores) {
  return PlanOf(TileSelect(SelectShapesOf(op), aic_cores));
}

}  // namespace ms_nsa
