// SPDX-License-Identifier: Apache-2.0
// What the tilings of the attention operators share. Tilings are pure functions: shapes and attributes in,
// tiling data, cores and workspace out.
#pragma once

#include <cstdint>
#include <string>

#include "attention_params.h"

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
void FillAttention(const AttentionShapes& shapes, AttentionParams& params);

// Cores and workspace when no unit of work (a token and a kv head) has more than `rows` kv rows.
void PlanCores(int64_t rows, int32_t aic_cores, Tiling& tiling);

}  // namespace ms_nsa
