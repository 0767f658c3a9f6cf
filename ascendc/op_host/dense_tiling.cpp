// SPDX-License-Identifier: Apache-2.0
#include "dense_tiling.h"

#include <algorithm>

#include "dense_workspace.h"

namespace ms_nsa {
namespace {

// Select blocks that `windows` windows from the start of a block on share rows with.
int64_t BlocksOf(const DenseShapes& s, int64_t windows) {
  return ((windows - 1) * s.compress_stride + s.compress_block_size - 1) / s.attention.select_block_size + 1;
}

void SetStep(const DenseShapes& s, int64_t rows, DenseParams& p) {
  p.attention.chunk_rows = static_cast<int32_t>(rows);
  p.step_blocks = static_cast<int32_t>(rows * s.compress_stride / s.attention.select_block_size);
  p.part_blocks = static_cast<int32_t>(RoundUp<int64_t>(BlocksOf(s, rows), 16));
}

// Blocks begin at the same windows of every step, and at whole vectors of eight: then one table of shared
// rows serves all steps, and what they add to a row of importance is aligned.
void PlanSteps(const DenseShapes& s, DenseParams& p) {
  const int64_t size = s.attention.select_block_size;
  p.attention.chunk_rows = kDenseStep;
  if (s.key_rule == kWindowRows || s.attention.select_block_count == 0) return;
  int64_t unit = 16;
  while (unit * s.compress_stride % (8 * size) != 0) unit += 16;
  SetStep(s, unit, p);
  for (int64_t rows = 2 * unit; rows <= kDenseStep && BlocksOf(s, rows) <= kMostPart; rows += unit) {
    DenseParams longer = p;
    SetStep(s, rows, longer);
    if (DenseL1Of(longer).slots >= kRing) p = longer;
  }
  const int64_t rows = p.attention.chunk_rows;
  const int64_t most_raw = s.t2 * s.compress_stride + s.compress_block_size;
  p.most_steps = std::max<int64_t>(CeilDiv(s.t2, rows), 1);
  // Parts are added whole, so that the last one must not pass the row.
  p.most_blocks = std::max(RoundUp<int64_t>(CeilDiv(most_raw, size), 64),
                           RoundUp<int64_t>((p.most_steps - 1) * p.step_blocks + p.part_blocks, 64));
}

void PlanTiles(const DenseShapes& s, DenseParams& p) {
  int64_t tokens = kHalfRows / p.attention.group;
  if (p.step_blocks > 0) tokens = std::min<int64_t>(tokens, DenseUbOf(p).importance_floats / p.most_blocks);
  p.tile_tokens = static_cast<int32_t>(2 * std::max<int64_t>(tokens, 1));
  p.tiles = (s.t1 / p.tile_tokens + s.batch + 1) * p.attention.kv_heads;
}

DenseParams ParamsOf(const DenseShapes& s) {
  DenseParams p{};
  const bool windows = s.key_rule == kCompressedRows;
  FillSizes(s.attention, p.attention);
  p.attention.batch = s.batch;
  p.attention.tokens = s.t1;
  p.attention.kv_rows = s.t2;
  p.attention.has_q_lens = s.has_q_lens;
  p.attention.has_kv_lens = s.has_kv_lens || s.has_q_lens;
  p.attention.statistics = true;
  p.attention.weight_scale = WeightScale(windows ? s.t2 : std::min(s.window_size, s.t2));
  p.kv_lens_given = s.has_kv_lens;
  p.key_rule = s.key_rule;
  p.window_size = s.window_size;
  p.raw_rows = windows ? s.t1 : s.t2;
  p.compress_block_size = static_cast<int32_t>(s.compress_block_size);
  p.compress_stride = static_cast<int32_t>(s.compress_stride);
  p.init_blocks = s.init_blocks;
  p.local_blocks = s.local_blocks;
  p.topk_mask_rows = s.topk_mask_rows;
  p.topk_mask_cols = s.topk_mask_cols;
  p.need_output = s.need_output;
  PlanSteps(s, p);
  PlanTiles(s, p);
  return p;
}

}  // namespace

int64_t MostKeyRows(const DenseParams& p) {
  const int64_t steps = (DenseUbOf(p).importance_floats - p.part_blocks - 64) / p.step_blocks;
  return steps * p.attention.chunk_rows;
}

DenseTiling TileDense(const DenseShapes& s, int32_t aic_cores) {
  DenseTiling tiling{};
  tiling.params = ParamsOf(s);
  const int64_t cores = std::min<int64_t>(tiling.params.tiles, aic_cores);
  tiling.block_dim = static_cast<int32_t>(std::max<int64_t>(cores, 1));
  tiling.workspace_bytes = tiling.block_dim * DenseAreaOf(tiling.params).bytes;
  return tiling;
}

}  // namespace ms_nsa
