// SPDX-License-Identifier: Apache-2.0
// The sum of the three branches times their gates, and its gradient: parameters filled, the kernel runs.
#include "../dispatch.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

template <class Operator>
GatedSumInputs Inputs(const Operator& op) {
  return {{op.compressed.data, op.selected.data, op.window.data},
          static_cast<const float*>(op.gates.data),
          op.T * op.N,
          op.D,
          0,
          op.dtype()};
}

}  // namespace

void Run(NsaGatedSum& op) {
  GatedSumParams params{Inputs(op), op.output};
  RunKernel(op, Kernels().gated_sum, params, params.in.max_threads);
}

void Run(NsaGatedSumGrad& op) {
  GatedSumGradParams params{Inputs(op),
                            op.grad.data,
                            {op.compressed_grad, op.selected_grad, op.window_grad},
                            static_cast<float*>(op.gates_grad)};
  RunKernel(op, Kernels().gated_sum_grad, params, params.in.max_threads);
}

}  // namespace ms_nsa
