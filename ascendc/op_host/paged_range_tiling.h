// SPDX-License-Identifier: Apache-2.0
// What the tilings of decode over a range of rows share.
#pragma once

#include "attention_tiling.h"
#include "attention_workspace.h"
#include "paged_range_params.h"

namespace ms_nsa {

// Of an operator's struct in op_info.h; `most_rows` is what a token may see at most.
template <class Operator>
PagedRangeParams PagedRangeOf(const Operator& op, int64_t most_rows) {
  PagedRangeParams range{};
  AttentionParams& p = range.attention;
  AttentionShapes shapes{};
  shapes.head_num = op.N1;
  shapes.key_value_head_num = op.N2;
  shapes.d1 = op.D1;
  shapes.d2 = op.D2;
  shapes.sparse_mode = kRightDownCausal;
  shapes.default_scale = op.default_scale != 0;
  shapes.scale_value = op.scale_value;
  shapes.debug = op.debug != 0;
  FillSizes(shapes, p);
  const bool packed = op.layout == "TND";
  p.batch = op.B;
  p.tokens = op.T;
  p.tokens_per_sequence = packed ? 0 : op.query.shape[1];
  p.num_blocks = op.num_blocks;
  p.max_blocks = op.max_blocks;
  p.page_block_size = op.page_block_size;
  p.has_q_lens = !op.actual_seq_qlen.absent();
  p.has_kv_lens = 1;
  p.statistics = op.return_softmax_lse != 0;
  p.weight_scale = WeightScale(most_rows);
  p.chunk_rows = StepRows(p, 16);
  p.heads_first = op.cache_layout == "BNSD";
  return range;
}

}  // namespace ms_nsa
