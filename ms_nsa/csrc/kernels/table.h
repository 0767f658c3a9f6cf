// The kernel table of one ISA: every operator for every element type.
#pragma once

#include "../isa/tables.h"
#include "../simd/float_dot.h"
#include "decode/paged_decode.h"
#include "training/backward.h"
#include "training/forward.h"

namespace ms_nsa {
namespace {

// The ways of this ISA to multiply bf16 and fp16. fp32 operands serve for both; gradients in fp16 always use
// them, because a score gradient may be too large or too small for fp16.
template <class V, class Bf16Dot, class Fp16Dot = FloatDot<V, false>>
struct Operators {
  static void SelectAttention(const SelectAttentionParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::SelectAttention<Fp16Dot, Fp16<V>>(p);
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
        return ms_nsa::PagedAttention<Fp16Dot, Fp16<V>>(p);
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
