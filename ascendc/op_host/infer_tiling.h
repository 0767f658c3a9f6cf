// Tiling of MsNsaSelectedAttentionInfer as a pure function: shapes and attributes in, tiling data, cores and
// workspace out.
#pragma once

#include <cstdint>
#include <string>

#include "infer_params.h"

namespace ms_nsa {

enum class Layout : int32_t { kBsh, kBsnd, kTnd };

struct InferShapes {
  Layout layout;
  int64_t batch;       // rows of block_table
  int64_t leading[2];  // of query: B and S, in TND T and 1
  int64_t head_num, key_value_head_num;
  int64_t d1, d2;
  int64_t num_blocks, max_blocks;
  int64_t select_block_size, select_block_count, page_block_size;
  int64_t atten_mask_cols;  // 0: no mask
  bool has_q_lens;
  int64_t sparse_mode;
  bool default_scale;  // scale is 1 / sqrt(d1)
  double scale_value;
};

struct InferTiling {
  std::string error;  // empty: the rest is valid
  InferParams params;
  int32_t block_dim;
  int64_t workspace_bytes;
};

InferTiling TileInfer(const InferShapes& shapes, int32_t aic_cores);

}  // namespace ms_nsa
