// SPDX-License-Identifier: Apache-2.0
// Tiling of the dense schedule: sliding window, and attention over compressed rows.
#pragma once

#include "attention_tiling.h"
#include "dense_params.h"

namespace ms_nsa {

struct DenseShapes {
  AttentionShapes attention;  // select_block_size and select_block_count: 0 for the window
  int64_t t1, t2, batch;      // batch of the prefix sums; 1 without them
  bool has_q_lens, has_kv_lens;
  KeyRule key_rule;
  int64_t window_size;
  int64_t compress_block_size, compress_stride, init_blocks, local_blocks;
  int64_t topk_mask_rows, topk_mask_cols;
  bool need_output;
};

struct DenseTiling {
  DenseParams params;
  int32_t block_dim;
  int64_t workspace_bytes;
};

// The shapes must be ones that the kernels take.
DenseTiling TileDense(const DenseShapes& shapes, int32_t aic_cores);

// Rows of key for which the importance of a token's blocks has room.
int64_t MostKeyRows(const DenseParams& params);

// Of an operator's struct in op_info.h, without masks and what only one of the operators has.
template <class Operator>
DenseShapes DenseShapesOf(const Operator& op) {
  DenseShapes shapes{};
  shapes.attention.head_num = op.N1;
  shapes.attention.key_value_head_num = op.N2;
  shapes.attention.d1 = op.D1;
  shapes.attention.d2 = op.D2;
  shapes.attention.sparse_mode = kRightDownCausal;
  shapes.attention.default_scale = op.default_scale != 0;
  shapes.attention.scale_value = op.scale_value;
  shapes.attention.debug = op.debug != 0;
  shapes.t1 = op.T1;
  shapes.t2 = op.T2;
  shapes.batch = op.B;
  shapes.has_q_lens = !op.actual_seq_qlen.absent();
  shapes.has_kv_lens = !op.actual_seq_kvlen.absent();
  shapes.need_output = true;
  return shapes;
}

}  // namespace ms_nsa
