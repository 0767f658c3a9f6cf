// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaSelectAttention.
#pragma once

#include "attention_tiling.h"

namespace ms_nsa {

struct SelectShapes {
  AttentionShapes attention;
  int64_t t1, t2;
  int64_t batch;  // of the prefix sums; 1 without them
  bool has_q_lens, has_kv_lens;
  bool has_max_grad, has_sum_grad;  // gradient: those of the statistics
};

// Of the forward's or the gradient's struct in op_info.h.
template <class Operator>
SelectShapes SelectShapesOf(const Operator& op) {
  SelectShapes shapes{};
  shapes.attention = AttentionShapesOf(op);
  shapes.t1 = op.T1;
  shapes.t2 = op.T2;
  shapes.batch = op.B;
  shapes.has_q_lens = !op.actual_seq_qlen.absent();
  shapes.has_kv_lens = !op.actual_seq_kvlen.absent();
  return shapes;
}

// What follows from the shapes alone; the shapes must have passed CheckAttention.
AttentionParams PackedParams(const SelectShapes& shapes);

enum class Schedule : int32_t { kBest, kTokenOuter, kBlockOuter };

// `schedule` is for tests; what block-outer cannot take, a mask above all, is done token-outer all the same.
Tiling TileSelect(const SelectShapes& shapes, int32_t aic_cores, Schedule schedule = Schedule::kBest);

}  // namespace ms_nsa
