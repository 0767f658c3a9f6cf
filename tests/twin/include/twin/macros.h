// SPDX-License-Identifier: Apache-2.0
// Language extensions of the device compiler, and which half of a mix kernel this translation unit is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "twin/abi.h"

#define __aicore__
#define __global__ __attribute__((visibility("default"), used))
#define __gm__
#define __ubuf__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __fbuf__
#define __BLOCK_LOCAL__
#define __NPU_ARCH__ 2201
#define __CCE_AICORE__ 220
#define GM_ADDR __gm__ uint8_t*

#if defined(__DAV_C220_CUBE__) == defined(__DAV_C220_VEC__)
#error "compile once with -D__DAV_C220_CUBE__ and once with -D__DAV_C220_VEC__"
#endif

namespace twin {
#ifdef __DAV_C220_CUBE__
constexpr bool kCubeHalf = true;
#else
constexpr bool kCubeHalf = false;
#endif
}  // namespace twin

#define ASCEND_IS_AIC constexpr(::twin::kCubeHalf)
#define ASCEND_IS_AIV constexpr(!::twin::kCubeHalf)
#define ASCEND_IS_NOT_AIC constexpr(!::twin::kCubeHalf)
#define ASCEND_IS_NOT_AIV constexpr(::twin::kCubeHalf)
