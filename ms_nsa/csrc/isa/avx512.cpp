// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512 F, BW, DQ and VL.
#include "../simd/avx512.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kAvx512Kernels = Operators<Avx512, FloatDot<Avx512, false>>::Table("avx512");

}  // namespace ms_nsa
