// SPDX-License-Identifier: Apache-2.0
#include "infer_tiling.h"

namespace ms_nsa {
namespace {

constexpr const char* kOp = "MsNsaSelectedAttentionInfer";

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

}  // namespace ms_nsa
