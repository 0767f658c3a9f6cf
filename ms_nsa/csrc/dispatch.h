// SPDX-License-Identifier: Apache-2.0
// Chooses the implementation: there is one table of kernels per instruction set. It is chosen once, by what
// the processor and the operating system support.
#pragma once

#include <string>
#include <vector>

#include "kernel_table.h"

namespace ms_nsa {

// The current table: MS_NSA_ISA if set, else the fastest that this machine supports. Throws
// std::runtime_error for an unknown or unsupported MS_NSA_ISA.
const KernelTable& Kernels();

// Switches the table for the whole process (tests and benchmarks); same errors.
void SelectIsa(const std::string& isa);

// Names of the tables this machine can run, slowest first.
std::vector<std::string> SupportedIsas();

}  // namespace ms_nsa
