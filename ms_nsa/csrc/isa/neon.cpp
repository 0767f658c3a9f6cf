// SPDX-License-Identifier: Apache-2.0
// Kernels for 64-bit Arm.
#include "../simd/neon.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kNeonKernels = Operators<Neon, FloatDot<Neon, false>>::Table("neon");

}  // namespace ms_nsa
