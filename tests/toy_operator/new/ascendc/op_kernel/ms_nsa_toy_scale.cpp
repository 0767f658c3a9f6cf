// SPDX-License-Identifier: Apache-2.0
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "toy_scale_kernel.h"

extern "C" __global__ __aicore__ void ms_nsa_toy_scale(GM_ADDR x, GM_ADDR y, GM_ADDR first_error,
                                                       GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  REGISTER_TILING_DEFAULT(ms_nsa::ToyScaleParams);
  GET_TILING_DATA(params, tiling);
  if ASCEND_IS_AIV {
    ms_nsa::ScaleTiles(x, y, params);
  }
}
