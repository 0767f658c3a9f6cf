// SPDX-License-Identifier: Apache-2.0
// Sums of tensors: parameters filled, the kernel runs.
#include "../dispatch.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {

void Run(NsaSum& op) {
  SumParams params{};
  for (const Tensor* term :
       {&op.first, &op.second, &op.third, &op.fourth, &op.fifth, &op.sixth, &op.seventh, &op.eighth})
    if (!term->absent()) params.term[params.terms++] = term->data;
  params.output = op.output;
  params.rows = op.T;
  params.width = op.W * op.D;
  params.dtype = op.dtype();
  RunKernel(op, Kernels().sum, params, params.max_threads);
}

}  // namespace ms_nsa
