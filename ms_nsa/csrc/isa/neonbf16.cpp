// SPDX-License-Identifier: Apache-2.0
// Kernels for 64-bit Arm with bf16 products (Armv8.6 FEAT_BF16) and fp16 ones.
#include "../simd/neonbf16.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kNeonBf16Kernels = Operators<Neon, NeonBf16Dot, NeonFp16Dot>::Table("neonbf16");

}  // namespace ms_nsa
