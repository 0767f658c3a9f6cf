// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaCompressAttentionInfer.
#include <algorithm>

#include "choice_limits.h"
#include "errors.h"
#include "op_info.h"
#include "paged_range_tiling.h"

namespace ms_nsa {
namespace {

// Of the scores of a round; two rounds have some.
constexpr int64_t kRoundBytes = int64_t{128} << 20;

// Rows of the cache whose windows and select blocks there is room for.
int64_t MostRows(const NsaCompressAttentionInfer& op) {
  const int64_t size = op.compress_block_size, stride = op.compress_stride, block = op.select_block_size;
  constexpr int64_t kSpare = 128;  // zeros around the weights, rounded up
  return std::min((kMostBlocks * block - size + 1) / stride, kMostWindows - kSpare - (size + block) / stride);
}

}  // namespace

Plan Tile(const NsaCompressAttentionInfer& op, int32_t aic_cores) {
  const int64_t rows = op.max_blocks * op.page_block_size, most = MostRows(op);
  if (rows > most) Fail(op.kName, "max_blocks * page_block_size", Join("be at most ", most), Join(rows));
  PagedRangeParams range = PagedRangeOf(op, rows);
  AttentionParams& p = range.attention;
  p.select_block_size = op.select_block_size;
  p.select_block_count = op.select_block_count;
  p.statistics = 1;  // the choice reads them
  range.compress_block_size = op.compress_block_size;
  range.compress_stride = op.compress_stride;
  range.init_blocks = op.init_blocks;
  range.local_blocks = op.local_blocks;
  const int64_t raw_rows = std::max<int64_t>(rows, 1) * op.compress_stride + op.compress_block_size - 1;
  range.most_blocks = CeilDiv(raw_rows, op.select_block_size);
  range.score_floats = RoundUp<int64_t>(std::max<int64_t>(rows, 1), 16);
  const int64_t token_bytes = range.score_floats * p.kv_heads * p.group * 4;
  range.round_tokens = std::max<int64_t>(std::min(kRoundBytes / token_bytes, p.tokens), 1);
  const int32_t cores = CoresFor(rows, aic_cores, p);
  range.scores_at = cores * AreaOf(p).bytes;
  const int64_t rounds = range.round_tokens < p.tokens ? kScoreRounds : 1;
  return MakePlan(range, cores, range.scores_at + rounds * range.round_tokens * token_bytes);
}

}  // namespace ms_nsa
