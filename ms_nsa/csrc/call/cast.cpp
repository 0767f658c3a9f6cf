// SPDX-License-Identifier: Apache-2.0
// Casts between bfloat16 and float32: parameters filled, the kernel runs.
#include "../dispatch.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

template <class Operator>
void RunCast(Operator& op, DType to) {
  CastParams params{};
  params.input = op.input.data;
  params.output = op.output;
  params.rows = op.T;
  params.width = op.W * op.D;
  params.to = to;
  RunKernel(op, Kernels().cast, params, params.max_threads);
}

}  // namespace

void Run(NsaToFloat32& op) {
  RunCast(op, DType::kFloat32);
}

void Run(NsaToBfloat16& op) {
  RunCast(op, DType::kBFloat16);
}

}  // namespace ms_nsa
