// SPDX-License-Identifier: Apache-2.0
// The kernel table of one ISA: every operator for every element type.
#pragma once

#include "../isa/tables.h"
#include "backward.h"
#include "float_dot.h"
#include "forward.h"
#include "paged_decode.h"

namespace ms_nsa {
namespace {

// Calls Run<Dot, Element>(params). Bf16Dot is the way of this ISA to multiply bf16; other types go through
// fp32.
template <class V, class Bf16Dot>
struct Operators {
  static void SelectAttention(const SelectAttentionParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::SelectAttention<FloatDot<V, false>, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::SelectAttention<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::SelectAttention<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static void SelectAttentionGrad(const SelectAttentionGradParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::SelectAttentionGrad<FloatDot<V, false>, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::SelectAttentionGrad<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::SelectAttentionGrad<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static void PagedAttention(const PagedAttentionParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return ms_nsa::PagedAttention<FloatDot<V, false>, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::PagedAttention<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::PagedAttention<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static constexpr KernelTable Table(const char* isa) {
    return {isa, &SelectAttention, &SelectAttentionGrad, &PagedAttention};
  }
};

}  // namespace
}  // namespace ms_nsa
