// Tiling of MsNsaSelectAttention.
#pragma once

#include "attention_tiling.h"

namespace ms_nsa {

struct SelectShapes {
  AttentionShapes attention;
  int64_t t1, t2;
  int64_t batch;  // of the prefix sums; 1 without them
  bool has_q_lens, has_kv_lens;
};

Tiling TileSelect(const SelectShapes& shapes, int32_t aic_cores);

}  // namespace ms_nsa
