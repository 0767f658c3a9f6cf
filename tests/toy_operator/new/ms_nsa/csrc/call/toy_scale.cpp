// SPDX-License-Identifier: Apache-2.0
// A scaled copy and its gradient.
#include "../dispatch.h"
#include "op_info.h"

namespace ms_nsa {

void Run(ToyScale& op) {
  Kernels().toy_scale({op.x.data, op.y, op.T * op.N * op.D, op.scale_value, op.dtype()});
}

void Run(ToyScaleGrad& op) {
  Kernels().toy_scale({op.grad.data, op.dx, op.T * op.N * op.D, op.scale_value, op.dtype()});
}

}  // namespace ms_nsa
