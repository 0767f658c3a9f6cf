// SPDX-License-Identifier: Apache-2.0
// These headers run on the NPU's scalar units and in host code. The device compiler needs the qualifier.
#pragma once

#include <cstdint>

#if !defined(__aicore__) && (defined(__DAV_C220_CUBE__) || defined(__DAV_C220_VEC__))
#error "kernel_operator.h must come before every header of the kernels"
#endif

#ifdef __aicore__
#define MS_NSA_FN __aicore__ inline
#else
#define MS_NSA_FN inline
#endif
