// SPDX-License-Identifier: Apache-2.0
#include "compress_tiling.h"

#include <algorithm>

#include "compress_grad_walk.h"
#include "compress_limits.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

// Of `cores` AIVs no more than have something to do.
Plan PlanOf(const CompressParams& p, int64_t parts, int32_t cores) {
  return MakePlan(p, static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(parts, 1), cores)), 0);
}

// Heads of a part, at most `most`, all parts about the same.
int32_t EvenParts(int32_t heads, int32_t most) {
  return CeilDiv(heads, CeilDiv(heads, most));
}

// Pieces of the weight's gradient are few rows where all rows are few, so that every core has some.
int32_t PieceSlices(const CompressParams& p) {
  constexpr int64_t kPieces = 384, kMostRows = 128;
  const int64_t rows = p.rows * PartsOf(p) / kPieces;
  return static_cast<int32_t>(std::max<int64_t>(std::min(rows, kMostRows) / p.slice_rows, 1));
}

}  // namespace

int32_t PowerOfTwo(int64_t numbers, int64_t most) {
  int32_t power = 1;
  while (numbers % (2 * power) == 0 && 2 * power <= most) power *= 2;
  return power;
}

void CutSums(CompressParams& p) {
  p.part_heads = EvenParts(p.kv_heads, kMaxPartHeads);
  const int32_t row = p.part_heads * p.head_dim;
  p.slice_rows = PowerOfTwo(p.compress_block_size | p.compress_stride, kSliceElements / row);
  const int32_t room = kSumFloats / (LiveWindows(p) * row);
  p.sum_rows = PowerOfTwo(p.slice_rows, std::min(room, kMaxSumRows));
}

Plan Tile(const NsaCompress& op, int32_t aic_cores) {
  CompressParams p = CompressParamsOf(op);
  p.rows = op.T2;
  p.windows = op.R;
  CutSums(p);
  return PlanOf(p, p.windows * PartsOf(p), aic_cores * kVectorUnits);
}

Plan Tile(const NsaCompressGrad& op, int32_t aic_cores) {
  CompressParams p = CompressParamsOf(op);
  p.rows = op.T2;
  p.windows = op.R;
  const int32_t live = LiveWindows(p), row = std::min(kGradPartElements, kGradLiveElements / live);
  const int32_t heads = std::min(row / p.head_dim, kGradPartWeights / p.compress_block_size);
  p.part_heads = EvenParts(p.kv_heads, std::min(heads, kMaxPartHeads));
  p.slice_rows =
      PowerOfTwo(p.compress_block_size | p.compress_stride, kSliceElements / (p.part_heads * p.head_dim));
  p.piece_slices = PieceSlices(p);
  const int64_t sums =
      MostPieces(p) * p.kv_heads * p.compress_block_size * static_cast<int64_t>(sizeof(float));
  return MakePlan(p, aic_cores * kVectorUnits, sums);
}

Plan Tile(const NsaCompressInfer& op, int32_t aic_cores) {
  CompressParams p = CompressParamsOf(op);
  p.slots = op.K;
  p.num_blocks = op.num_blocks;
  p.max_blocks = op.max_blocks;
  p.page_block_size = static_cast<int32_t>(op.page_block_size);
  p.heads_first = op.cache_layout == "BNSD";
  p.has_q_lens = !op.actual_seq_qlen.absent();
  CutSums(p);
  p.slice_rows = PowerOfTwo(p.slice_rows | p.page_block_size, p.slice_rows);
  return PlanOf(p, p.batch * p.slots * PartsOf(p), aic_cores * kVectorUnits);
}

}  // namespace ms_nsa
