// SPDX-License-Identifier: Apache-2.0
// Rotary positions: parameters filled, the kernel runs.
#include "../dispatch.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {

void Run(NsaRotate& op) {
  RotateParams params{op.input.data,
                      static_cast<const float*>(op.cosine.data),
                      static_cast<const float*>(op.sine.data),
                      op.output,
                      op.T,
                      op.N,
                      op.D,
                      0,
                      op.dtype()};
  RunKernel(op, Kernels().rotate, params, params.max_threads);
}

}  // namespace ms_nsa
