// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaCompressAttention.
#include "dense_tiling.h"
#include "errors.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

// What the rules leave to values: a mask without rows or columns where there are queries and keys.
void CheckMask(const NsaCompressAttention& op, const char* name, const Tensor& mask, const char* extents) {
  if (mask.absent()) return;
  if (op.T1 > 0 && mask.shape[0] == 0) Fail(op.kName, name, Join("cover ", extents, "; its rows"), "0");
  if (op.T2 > 0 && mask.shape[1] == 0) Fail(op.kName, name, Join("cover ", extents, "; its columns"), "0");
}

}  // namespace

Plan Tile(const NsaCompressAttention& op, int32_t aic_cores) {
  CheckMask(op, "atten_mask", op.atten_mask, "[max Sq, max windows]");
  CheckMask(op, "topk_mask", op.topk_mask, "[max Sq, max blocks]");
  DenseShapes shapes = DenseShapesOf(op);
  shapes.key_rule = kCompressedRows;
  shapes.compress_block_size = op.compress_block_size;
  shapes.compress_stride = op.compress_stride;
  shapes.attention.select_block_size = op.select_block_size;
  shapes.attention.select_block_count = op.select_block_count;
  shapes.attention.sparse_mode = op.sparse_mode;
  shapes.init_blocks = op.init_blocks;
  shapes.local_blocks = op.local_blocks;
  shapes.need_output = op.need_output != 0;
  if (!op.atten_mask.absent()) {
    shapes.attention.atten_mask_rows = op.atten_mask.shape[0];
    shapes.attention.atten_mask_cols = op.atten_mask.shape[1];
  }
  if (!op.topk_mask.absent()) {
    shapes.topk_mask_rows = op.topk_mask.shape[0];
    shapes.topk_mask_cols = op.topk_mask.shape[1];
  }
  const DenseTiling tiling = TileDense(shapes, aic_cores);
  const int64_t most = tiling.params.step_blocks > 0 ? MostKeyRows(tiling.params) : op.T2;
  if (op.T2 > most) Fail(op.kName, "key", Join("have at most ", most, " rows"), Join(op.T2));
  return MakePlan(tiling.params, tiling.block_dim, tiling.workspace_bytes);
}

}  // namespace ms_nsa
