// SPDX-License-Identifier: Apache-2.0
// Kernels for 64-bit Arm with fp16 products (Armv8.2 FEAT_FHM).
#include "../simd/neonfp16.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kNeonFp16Kernels = Operators<Neon, FloatDot<Neon, false>, NeonFp16Dot>::Table("neonfp16");

}  // namespace ms_nsa
