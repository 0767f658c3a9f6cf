// SPDX-License-Identifier: Apache-2.0
// Kernels for x86-64 with AVX-512 and AMX-BF16.
#include "../simd/amxbf16.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kAmxBf16Kernels = Operators<Avx512, AmxBf16Dot>::Table("amxbf16");

}  // namespace ms_nsa
