// SPDX-License-Identifier: Apache-2.0
// The kernel table of one ISA: every operator for every element type.
#pragma once

#include "../kernel_table.h"
#include "../simd/float_dot.h"
#include "cast.h"
#include "decode/paged_compress.h"
#include "decode/paged_decode.h"
#include "gated_sum.h"
#include "matrix_product.h"
#include "rotate.h"
#include "sum.h"
#include "training/backward.h"
#include "training/compress.h"
#include "training/compress_grad.h"
#include "training/compressed_attention.h"
#include "training/forward.h"

namespace ms_nsa {
namespace {

// The ways of this ISA to multiply bf16 and fp16. fp32 operands serve for both; gradients in fp16 always use
// them, because a score gradient may be too large or too small for fp16.
template <class V, class Bf16Dot, class Fp16Dot = FloatDot<V, false>>
struct Operators {
  static void PackedAttention(const PackedAttentionParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::PackedAttention<Fp16Dot, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::PackedAttention<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::PackedAttention<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static void PackedAttentionGrad(const PackedAttentionGradParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::PackedAttentionGrad<FloatDot<V, false>, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::PackedAttentionGrad<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::PackedAttentionGrad<FloatDot<V, true>, Fp32<V>>(p);
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
  static void Compress(const CompressParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::Compress<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::Compress<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::Compress<V, Fp32<V>>(p);
    }
  }
  static void CompressGrad(const CompressGradParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::CompressGrad<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::CompressGrad<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::CompressGrad<V, Fp32<V>>(p);
    }
  }
  static void PagedCompress(const PagedCompressParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return ms_nsa::PagedCompress<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::PagedCompress<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::PagedCompress<V, Fp32<V>>(p);
    }
  }
  static void CompressAttention(const CompressAttentionParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::CompressAttention<Fp16Dot, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::CompressAttention<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::CompressAttention<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static void MatrixProduct(const MatrixProductParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return MultiplyMatrices<FloatDot<V, false>, Fp16<V>>(p);
      case DType::kBFloat16:
        return MultiplyMatrices<Bf16Dot, Bf16<V>>(p);
      case DType::kFloat32:
        return MultiplyMatrices<FloatDot<V, true>, Fp32<V>>(p);
    }
  }
  static void GatedSum(const GatedSumParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::GatedSum<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::GatedSum<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::GatedSum<V, Fp32<V>>(p);
    }
  }
  static void GatedSumGrad(const GatedSumGradParams& p) {
    switch (p.in.dtype) {
      case DType::kFloat16:
        return ms_nsa::GatedSumGrad<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::GatedSumGrad<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::GatedSumGrad<V, Fp32<V>>(p);
    }
  }
  static void Rotate(const RotateParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return ms_nsa::Rotate<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::Rotate<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::Rotate<V, Fp32<V>>(p);
    }
  }
  static void Sum(const SumParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return ms_nsa::Sum<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::Sum<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::Sum<V, Fp32<V>>(p);
    }
  }
  static constexpr KernelTable Table(const char* isa) {
    return {isa,
            &PackedAttention,
            &PackedAttentionGrad,
            &PagedAttention,
            &Compress,
            &CompressGrad,
            &PagedCompress,
            &CompressAttention,
            &MatrixProduct,
            &GatedSum,
            &GatedSumGrad,
            &Rotate,
            &Sum,
            &ms_nsa::Cast<V>};
  }
};

}  // namespace
}  // namespace ms_nsa
