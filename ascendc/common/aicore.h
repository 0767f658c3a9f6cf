// These headers run on the NPU's scalar units and in host code: the device compiler wants the qualifier.
#pragma once

#include <cstdint>

#ifdef __aicore__
#define MS_NSA_FN __aicore__ inline
#else
#define MS_NSA_FN inline
#endif
