// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaWindowAttention.
#include "dense_tiling.h"
#include "op_info.h"

namespace ms_nsa {

Plan Tile(const NsaWindowAttention& op, int32_t aic_cores) {
  DenseShapes shapes = DenseShapesOf(op);
  shapes.key_rule = kWindowRows;
  shapes.window_size = op.window_size;
  const DenseTiling tiling = TileDense(shapes, aic_cores);
  return MakePlan(tiling.params, tiling.block_dim, tiling.workspace_bytes);
}

}  // namespace ms_nsa
