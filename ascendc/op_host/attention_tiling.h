// SPDX-License-Identifier: Apache-2.0
// Shared by the tilings of the attention operators.
#pragma once

#include <cstdint>
#include <string>

#include "attention_params.h"
#include "plan.h"
#include "tensor.h"

namespace ms_nsa {

struct AttentionShapes {
  int64_t head_num, key_value_head_num;
  int64_t d1, d2;
  int64_t select_block_size, select_block_count;
  int64_t atten_mask_rows, atten_mask_cols;  // 0: no mask
  int64_t sparse_mode;
  bool default_scale;  // scale is 1 / sqrt(d1)
  double scale_value;
  bool debug;  // the kernel looks for what the rules forbid
};

struct Tiling {
  std::string error;  // empty: the rest is valid
  AttentionParams params;
  int32_t block_dim;
  int64_t workspace_bytes;
};

// Throws ArgumentError with the tiling's sentence if it has one.
Plan PlanOf(const Tiling& tiling);

struct Rule {
  bool holds;
  const char* argument;
  const char* rule;
  int64_t value;
};

// The sentence for the first rule that does not hold; empty if all do.
std::string FirstBroken(const char* op, std::initializer_list<Rule> rules);

bool IsMultipleOf16(int64_t value, int64_t largest);
std::string CheckAttention(const char* op, const AttentionShapes& shapes, int32_t aic_cores);

// The longest step that fits into L1 twice, a whole number of units.
int32_t StepRows(const AttentionParams& params, int32_t unit);

// 2^-n for so many rows that a token may see: so much may values add up to before the division by their
// weights.
float WeightScale(int64_t rows);

// FillAttention: also what follows from the selected blocks, the weights' scale and a step's rows.
void FillSizes(const AttentionShapes& shapes, AttentionParams& params);
void FillAttention(const AttentionShapes& shapes, AttentionParams& params);

// Of an operator's struct in op_info.h.
template <class Operator>
AttentionShapes AttentionShapesOf(const Operator& op) {
  AttentionShapes shapes{};
  shapes.head_num = op.N1;
  shapes.key_value_head_num = op.N2;
  shapes.d1 = op.D1;
  shapes.d2 = op.D2;
  shapes.select_block_size = op.select_block_size;
  shapes.select_block_count = op.select_block_count;
  if (!op.atten_mask.absent()) {
    const Shape& mask = op.atten_mask.shape;
    shapes.atten_mask_rows = mask[mask.size() - 2];
    shapes.atten_mask_cols = mask[mask.size() - 1];
  }
  shapes.sparse_mode = op.sparse_mode;
  shapes.default_scale = op.default_scale != 0;
  shapes.scale_value = op.scale_value;
  shapes.debug = op.debug != 0;
  return shapes;
}

// Cores and `bundles` when no unit of work has more than `rows` kv rows: cores beyond the number of pieces
// would only wait.
int32_t CoresFor(int64_t rows, int32_t aic_cores, AttentionParams& params);

// Cores and workspace when no unit of work (a token and a kv head) has more than `rows` kv rows.
void PlanCores(int64_t rows, int32_t aic_cores, Tiling& tiling);

}  // namespace ms_nsa
