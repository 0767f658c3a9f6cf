// SPDX-License-Identifier: Apache-2.0
// The kernels of one instruction set, and the tables that the library may contain. Which ones it contains
// depends on the target processor family.
#pragma once

#include "params.h"

namespace ms_nsa {

// Kernels trust their parameters: call/ checks every extent, length, index and page id first.
struct KernelTable {
  const char* isa;  // "scalar", "avx2", "avx512", "avx512bf16", "amxbf16", "neon", "neonfp16" or "neonbf16"
  void (*packed_attention)(const PackedAttentionParams&);
  void (*packed_attention_grad)(const PackedAttentionGradParams&);
  void (*paged_attention)(const PagedAttentionParams&);
  void (*compress)(const CompressParams&);
  void (*compress_grad)(const CompressGradParams&);
  void (*paged_compress)(const PagedCompressParams&);
  void (*compress_attention)(const CompressAttentionParams&);
  void (*matrix_product)(const MatrixProductParams&);
  void (*gated_sum)(const GatedSumParams&);
  void (*gated_sum_grad)(const GatedSumGradParams&);
  void (*rotate)(const RotateParams&);
  void (*sum)(const SumParams&);
  void (*cast)(const CastParams&);
};

extern const KernelTable kScalarKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx512Bf16Kernels;
extern const KernelTable kAmxBf16Kernels;
extern const KernelTable kNeonKernels;
extern const KernelTable kNeonFp16Kernels;
extern const KernelTable kNeonBf16Kernels;

}  // namespace ms_nsa
