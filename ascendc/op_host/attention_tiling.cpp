// SPDX-License-Identifier: Apache-2.0
#include "attention_tiling.h"

#include <algorithm>
#include <cmath>

#include "attention_workspace.h"
#include "core_split.h"
#include "errors.h"

namespace ms_nsa {
namespace {

int64_t L1Bytes(const AttentionParams& p, int64_t chunk) {
  const int64_t left_rows = RoundUp(p.group, 16);
  return 2 * kSlots * (chunk * (p.d1 + p.d2) + left_rows * (p.d1 + chunk));
}

}  // namespace

int32_t StepRows(const AttentionParams& p, int32_t unit) {
  int32_t chunk = kMaxChunk / unit * unit;
  while (L1Bytes(p, chunk) > kL1Bytes) chunk -= unit;
  return chunk;
}

Plan PlanOf(const Tiling& tiling) {
  if (!tiling.error.empty()) throw ArgumentError(tiling.error);
  return MakePlan(tiling.params, tiling.block_dim, tiling.workspace_bytes);
}

std::string FirstBroken(const char* op, std::initializer_list<Rule> rules) {
  for (const Rule& r : rules) {
    if (r.holds) continue;
    return std::string(op) + ": " + r.argument + " must " + r.rule + ", got " + std::to_string(r.value);
  }
  return {};
}

bool IsMultipleOf16(int64_t value, int64_t largest) {
  return value >= 16 && value <= largest && value % 16 == 0;
}

std::string CheckAttention(const char* op, const AttentionShapes& s, int32_t aic_cores) {
  const int64_t n1 = s.head_num, n2 = s.key_value_head_num;
  const std::string heads = FirstBroken(op, {
                                                {n2 >= 1, "key_value_head_num", "be at least 1", n2},
                                                {n1 >= 1 && n1 % std::max<int64_t>(n2, 1) == 0, "head_num",
                                                 "be a multiple of key_value_head_num", n1},
                                            });
  if (!heads.empty()) return heads;
  return FirstBroken(
      op,
      {
          {n1 / n2 <= kMaxGroup, "head_num / key_value_head_num", "be at most 32", n1 / n2},
          {IsMultipleOf16(s.d1, kMaxWidth), "the head dim of query and key", "be a multiple of 16 up to 256",
           s.d1},
          {IsMultipleOf16(s.d2, kMaxWidth), "the head dim of value", "be a multiple of 16 up to 256", s.d2},
          {IsMultipleOf16(s.select_block_size, 128), "select_block_size", "be a multiple of 16 up to 128",
           s.select_block_size},
          {s.select_block_count >= 1 && s.select_block_count <= INT32_MAX, "select_block_count",
           "be from 1 to 2147483647", s.select_block_count},
          {s.sparse_mode == kAllRows || s.sparse_mode == kLeftUpCausal || s.sparse_mode == kRightDownCausal,
           "sparse_mode", "be 0, 2 or 3", s.sparse_mode},
          {aic_cores >= 1, "the number of AI cores", "be at least 1", aic_cores},
      });
}

// 2^-n, with 2^n no less than the rows.
float WeightScale(int64_t rows) {
  int exponent = 0;
  while (int64_t{1} << exponent < rows) ++exponent;
  return std::ldexp(1.0f, -exponent);
}

void FillSizes(const AttentionShapes& s, AttentionParams& p) {
  p.atten_mask_rows = s.atten_mask_rows;
  p.atten_mask_cols = s.atten_mask_cols;
  p.kv_heads = s.key_value_head_num;
  p.group = s.head_num / s.key_value_head_num;
  p.d1 = s.d1;
  p.d2 = s.d2;
  p.select_block_size = s.select_block_size;
  p.select_block_count = s.select_block_count;
  p.sparse_mode = s.sparse_mode;
  p.debug = s.debug;
  p.scale_value = s.default_scale ? 1.0 / std::sqrt(static_cast<double>(s.d1)) : s.scale_value;
}

void FillAttention(const AttentionShapes& s, AttentionParams& p) {
  FillSizes(s, p);
  p.weight_scale = WeightScale(s.select_block_count * s.select_block_size);
  p.chunk_rows = StepRows(p, p.select_block_size);  // a step cuts no block
}

int32_t CoresFor(int64_t rows, int32_t aic_cores, AttentionParams& p) {
  p.bundles = static_cast<int32_t>(std::max<int64_t>(CeilDiv(rows, BundleRows(p)), 1));
  const int64_t pieces = p.tokens * p.kv_heads * MakeUnit(0, rows, PieceRows(p)).pieces;
  return static_cast<int32_t>(std::max<int64_t>(std::min<int64_t>(pieces, aic_cores), 1));
}

void PlanCores(int64_t rows, int32_t aic_cores, Tiling& tiling) {
  AttentionParams& p = tiling.params;
  const int64_t selected = int64_t{p.select_block_count} * p.select_block_size;
  tiling.block_dim = CoresFor(std::min(selected, rows), aic_cores, p);
  tiling.workspace_bytes = tiling.block_dim * AreaOf(p).bytes;
}

}  // namespace ms_nsa
