// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaWindowAttentionInfer.
#include <algorithm>

#include "op_info.h"
#include "paged_range_tiling.h"

namespace ms_nsa {

Plan Tile(const NsaWindowAttentionInfer& op, int32_t aic_cores) {
  const int64_t rows = std::min(op.window_size, op.max_blocks * op.page_block_size);
  PagedRangeParams range = PagedRangeOf(op, rows);
  range.window_size = op.window_size;
  const int32_t cores = CoresFor(rows, aic_cores, range.attention);
  return MakePlan(range, cores, cores * AreaOf(range.attention).bytes);
}

}  // namespace ms_nsa
