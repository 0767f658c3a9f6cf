// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX2, FMA and F16C.
#include "../simd/avx2.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kAvx2Kernels = Operators<Avx2, FloatDot<Avx2, false>>::Table("avx2");

}  // namespace ms_nsa
