// SPDX-License-Identifier: Apache-2.0
// Tilings of the toy operator and its gradient.
#include "op_info.h"
#include "toy_scale_params.h"

namespace ms_nsa {

Plan Tile(const ToyScale& op, int32_t aic_cores) {
  return MakePlan(ToyScaleParams{op.T * op.N * op.D, op.scale_value}, aic_cores, 0);
}

Plan Tile(const ToyScaleGrad& op, int32_t aic_cores) {
  return MakePlan(ToyScaleParams{op.T * op.N * op.D, op.scale_value}, aic_cores, 0);
}

}  // namespace ms_nsa
