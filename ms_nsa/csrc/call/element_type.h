// SPDX-License-Identifier: Apache-2.0
// Element types by MindSpore's names.
#pragma once

#include <string>

#include "../params.h"

namespace ms_nsa {

inline DType DTypeOf(const std::string& name) {
  if (name == "float16") return DType::kFloat16;
  return name == "bfloat16" ? DType::kBFloat16 : DType::kFloat32;
}

}  // namespace ms_nsa
