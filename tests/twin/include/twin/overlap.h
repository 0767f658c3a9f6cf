// SPDX-License-Identifier: Apache-2.0
// Operands of one vector instruction that share memory: inside a repeat a destination block must be the very
// source block or none of it, and no repeat may read what an earlier one wrote.
#pragma once

#include "twin/abi.h"

namespace twin {

struct Lanes;
struct Strides;

struct Side {
  const LocalRef& tensor;
  const char* operand;
  uint32_t size;  // of an element
  const Strides& strides;
};

// accumulates: the API may read with a repeat stride of 0 what the repeat before wrote (Add and its like,
// src1).
TWIN_API void CheckOverlap(Instr& in, const Side& dst, const Side& src, const Lanes& lanes,
                           bool accumulates = false);

}  // namespace twin
