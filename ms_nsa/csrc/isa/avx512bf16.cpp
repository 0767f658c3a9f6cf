// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512 and its bf16 dot product.
#include "../simd/avx512bf16.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kAvx512Bf16Kernels = Operators<Avx512, Avx512Bf16Dot>::Table("avx512bf16");

}  // namespace ms_nsa
