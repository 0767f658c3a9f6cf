// SPDX-License-Identifier: Apache-2.0
// The C interface of libtwin: load a kernel's two halves, run one launch, read reports, times and outputs.
#pragma once

#include <cstdint>

#include "twin/abi.h"

extern "C" {

struct TwinArgument {
  void* data;  // host array; nullptr: the kernel gets a null pointer
  uint64_t bytes;
  const char* name;
  uint32_t kind;      // 0 input, 1 output, 2 input and output, 3 workspace
  uint32_t misalign;  // bytes past the 512-byte boundary
};

struct TwinLaunch {
  const char* cube_object;    // path of the cube half, or nullptr
  const char* vector_object;  // path of the vector half, or nullptr
  const char* entry;
  const TwinArgument* arguments;
  uint32_t argument_count;
  int32_t task_type;  // KERNEL_TYPE_AIV_ONLY, ...
  int32_t block_dim;
  int32_t aic_cores;
  uint64_t seed;     // 0: cores in their order; else permuted
  uint32_t preempt;  // switch cores at one instruction in this many; 0: only where they wait
  uint32_t checks;
  uint32_t timing;
  uint32_t trace_events;
  uint64_t report_limit;
  uint64_t tiling_key;
  uint64_t reserved_workspace;
  const char* figures;  // changes to the time model's table, or nullptr
};

struct TwinResult;

// The result is freed with twin_free; the texts live as long as it does. reports, timing and trace are JSON.
TWIN_API TwinResult* twin_launch(const TwinLaunch* launch);
TWIN_API const char* twin_reports(const TwinResult* result);
TWIN_API const char* twin_timing(const TwinResult* result);
TWIN_API const char* twin_trace(const TwinResult* result);
TWIN_API const char* twin_error(const TwinResult* result);  // "" or why the launch did not run
TWIN_API void twin_free(TwinResult* result);
}
