// SPDX-License-Identifier: Apache-2.0
// The tables that this library may hold; which of them it does depends on the target processor family.
#pragma once

#include "../dispatch.h"

namespace ms_nsa {

extern const KernelTable kScalarKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx512Bf16Kernels;
extern const KernelTable kNeonKernels;
extern const KernelTable kNeonFp16Kernels;
extern const KernelTable kNeonBf16Kernels;

}  // namespace ms_nsa
