// SPDX-License-Identifier: Apache-2.0
// Tiling of MsNsaSelectAttentionGrad.
#pragma once

#include "select_tiling.h"

namespace ms_nsa {

Tiling TileSelectGrad(const SelectShapes& shapes, int32_t aic_cores);

}  // namespace ms_nsa
