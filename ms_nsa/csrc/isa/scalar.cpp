// SPDX-License-Identifier: Apache-2.0
// Kernels for any processor.
#include "../simd/scalar.h"

#include "../kernels/table.h"

namespace ms_nsa {

const KernelTable kScalarKernels = Operators<Scalar, FloatDot<Scalar, false>>::Table("scalar");

}  // namespace ms_nsa
