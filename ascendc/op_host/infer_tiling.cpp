// SPDX-License-Identifier: Apache-2.0
#include "infer_tiling.h"

#include "op_info.h"

namespace ms_nsa {
namespace {

constexpr const char* kOp = NsaSelectedAttentionInfer::kName;

// What the rules leave to values: a mask without rows or columns where there are queries and keys. Rows of
// pages are what keys there may be.
std::string CheckMask(const NsaSelectedAttentionInfer& op, const AttentionShapes& attention) {
  if (op.atten_mask.absent()) return {};
  const bool tokens_only = op.atten_mask.shape.size() == 3;  // a mask of each sequence, over its new tokens
  const int64_t queries = op.T, keys = tokens_only ? op.T : op.num_blocks * op.max_blocks;
  const char* rows = tokens_only ? "cover [B, max Sq, max Sq]; its rows" : "cover [max Sq, max Sk]; its rows";
  const char* columns =
      tokens_only ? "cover [B, max Sq, max Sq]; its columns" : "cover [max Sq, max Sk]; its columns";
  return FirstBroken(kOp, {{queries == 0 || attention.atten_mask_rows > 0, "atten_mask", rows, 0},
                           {keys == 0 || attention.atten_mask_cols > 0, "atten_mask", columns, 0}});
}

AttentionParams ParamsOf(const InferShapes& s) {
  AttentionParams p{};
  const bool packed = s.layout == Layout::kTnd;
  p.batch = s.batch;
  p.tokens = packed ? s.leading[0] : s.leading[0] * s.leading[1];
  p.tokens_per_sequence = packed ? 0 : s.leading[1];
  p.num_blocks = s.num_blocks;
  p.max_blocks = s.max_blocks;
  p.page_block_size = s.page_block_size;
  p.has_q_lens = s.has_q_lens;
  p.has_kv_lens = 1;
  p.statistics = s.statistics;
  p.token_mask = s.token_mask;
  p.heads_first = s.heads_first;
  FillAttention(s.attention, p);
  return p;
}

}  // namespace

Tiling TileInfer(const InferShapes& s, int32_t aic_cores) {
  Tiling tiling{};
  tiling.error = CheckAttention(kOp, s.attention, aic_cores);
  if (tiling.error.empty()) {
    tiling.error = FirstBroken(kOp, {{IsMultipleOf16(s.page_block_size, INT32_MAX), "page_block_size",
                                      "be a multiple of 16", s.page_block_size}});
  }
  if (!tiling.error.empty()) return tiling;
  tiling.params = ParamsOf(s);
  PlanCores(s.max_blocks * s.page_block_size, aic_cores, tiling);
  return tiling;
}

Plan Tile(const NsaSelectedAttentionInfer& op, int32_t aic_cores) {
  InferShapes shapes{};
  shapes.attention = AttentionShapesOf(op);
  shapes.layout = op.layout == "BSH" ? Layout::kBsh : op.layout == "BSND" ? Layout::kBsnd : Layout::kTnd;
  shapes.batch = op.B;
  shapes.leading[0] = op.query.shape[0];
  shapes.leading[1] = shapes.layout == Layout::kTnd ? 1 : op.query.shape[1];
  shapes.num_blocks = op.num_blocks;
  shapes.page_block_size = op.page_block_size;
  shapes.max_blocks = op.max_blocks;
  shapes.has_q_lens = !op.actual_seq_qlen.absent();
  shapes.statistics = op.return_softmax_lse != 0;
  shapes.token_mask = op.atten_mask.shape.size() == 3;
  shapes.heads_first = op.cache_layout == "BNSD";
  const std::string error = CheckMask(op, shapes.attention);
  if (!error.empty()) throw ArgumentError(error);
  return PlanOf(TileInfer(shapes, aic_cores));
}

}  // namespace ms_nsa
