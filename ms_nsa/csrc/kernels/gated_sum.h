// SPDX-License-Identifier: Apache-2.0
// The sum of the three branches times their gates, in fp32, rounded once; and its gradient.
#pragma once

#include "../params.h"
#include "row_wise.h"

namespace ms_nsa {
namespace {

template <class V, class E>
void GatedSum(const GatedSumParams& p) {
  using S = typename E::Storage;
  const GatedSumInputs& in = p.in;
  ForEachRow(in.rows, in.max_threads, [&](int64_t r) {
    const S* branch[kBranches];
    typename V::Reg gate[kBranches];
    for (int64_t b = 0; b < kBranches; ++b) {
      branch[b] = static_cast<const S*>(in.branch[b]) + r * in.width;
      gate[b] = V::Set1(in.gates[r * kBranches + b]);
    }
    S* out = static_cast<S*>(p.output) + r * in.width;
    for (int64_t i = 0; i < in.width; i += V::kLanes) {
      auto sum = V::Mul(gate[0], LoadUpTo<V, E>(branch[0] + i, in.width - i));
      for (int64_t b = 1; b < kBranches; ++b)
        sum = V::Fma(gate[b], LoadUpTo<V, E>(branch[b] + i, in.width - i), sum);
      StoreUpTo<V, E>(out + i, sum, in.width - i);
    }
  });
}

template <class V, class E>
void GatedSumGrad(const GatedSumGradParams& p) {
  using S = typename E::Storage;
  const GatedSumInputs& in = p.in;
  ForEachRow(in.rows, in.max_threads, [&](int64_t r) {
    const S* grad = static_cast<const S*>(p.grad) + r * in.width;
    for (int64_t b = 0; b < kBranches; ++b) {
      const S* branch = static_cast<const S*>(in.branch[b]) + r * in.width;
      S* branch_grad = static_cast<S*>(p.branch_grad[b]) + r * in.width;
      const auto gate = V::Set1(in.gates[r * kBranches + b]);
      auto sum = V::Zero();
      for (int64_t i = 0; i < in.width; i += V::kLanes) {
        const auto g = LoadUpTo<V, E>(grad + i, in.width - i);
        sum = V::Fma(g, LoadUpTo<V, E>(branch + i, in.width - i), sum);
        StoreUpTo<V, E>(branch_grad + i, V::Mul(gate, g), in.width - i);
      }
      p.gates_grad[r * kBranches + b] = V::ReduceAdd(sum);
    }
  });
}

}  // namespace
}  // namespace ms_nsa
