// SPDX-License-Identifier: Apache-2.0
// Which implementation runs: one table of kernels per ISA, chosen once from what the processor and the
// operating system support.
#pragma once

#include <string>
#include <vector>

#include "params.h"

namespace ms_nsa {

// Kernels trust their parameters: call/ has checked every extent, length, index and page id before.
struct KernelTable {
  const char* isa;  // "scalar", "avx2", "avx512", "avx512bf16", "neon", "neonfp16" or "neonbf16"
  void (*select_attention)(const SelectAttentionParams&);
  void (*select_attention_grad)(const SelectAttentionGradParams&);
  void (*paged_attention)(const PagedAttentionParams&);
  void (*compress)(const CompressParams&);
  void (*compress_grad)(const CompressGradParams&);
  void (*paged_compress)(const PagedCompressParams&);
  void (*compress_attention)(const CompressAttentionParams&);
};

// The table in use: MS_NSA_ISA if set, else the widest that this machine runs. Throws std::runtime_error for
// an unknown or unsupported MS_NSA_ISA.
const KernelTable& Kernels();

// Switches the table for the whole process (tests and benchmarks); same errors.
void SelectIsa(const std::string& isa);

// Names of the tables this machine can run, narrowest first.
std::vector<std::string> SupportedIsas();

}  // namespace ms_nsa
