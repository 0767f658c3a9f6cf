// SPDX-License-Identifier: Apache-2.0
// Shared by the packed operators without a list of blocks: parameters and checks of values.
#pragma once

#include <vector>

#include "../params.h"
#include "check_values.h"
#include "operator.h"

namespace ms_nsa {

constexpr int64_t kKeysTogether = 64;  // that a kernel works on

// Number of blocks of kKeysTogether keys that `keys` consecutive keys can touch, wherever they start.
inline int64_t MostBlocks(int64_t keys) {
  return CeilDiv(keys, kKeysTogether) + 1;
}

// Query, key and value; checks the query lengths. Absent key lengths are those of the query.
template <class Operator>
void FillPacked(const Operator& op, PackedAttentionInputs* out) {
  out->query = op.query.data;
  out->key = op.key.data;
  out->value = op.value.data;
  out->t1 = op.T1, out->n1 = op.N1, out->d1 = op.D1;
  out->t2 = op.T2, out->n2 = op.N2, out->d2 = op.D2;
  out->actual_seq_qlen = op.actual_seq_qlen.absent() ? &op.T1 : op.actual_seq_qlen.template as<int64_t>();
  out->batch = op.B;
  out->select_block_size = kKeysTogether;
  out->scale_value = ScaleOf(op);
  out->dtype = op.dtype();
  CheckPrefixes(Operator::kName, "actual_seq_qlen", out->actual_seq_qlen, op.B, "T1", op.T1);
}

template <class Operator>
void FillGrad(const Operator& op, PackedAttentionGradParams* out) {
  out->grad = op.grad.data;
  out->attention_out = op.attention_out.data;
  out->softmax_max = op.softmax_max.template as<float>();
  out->softmax_sum = op.softmax_sum.template as<float>();
  out->softmax_max_grad = op.softmax_max_grad.template given_as<float>();
  out->softmax_sum_grad = op.softmax_sum_grad.template given_as<float>();
  out->dq = op.dq;
  out->dk = op.dk;
  out->dv = op.dv;
}

}  // namespace ms_nsa
