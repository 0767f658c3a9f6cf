// SPDX-License-Identifier: Apache-2.0
// The limits of a device, written in op_info and handed over as text: rules separated by ';', each a
// quantity, a relation and operands. "D1 in 192; N2 max 256; select_block_size multiple 16; q_len max
// kv_len".
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ms_nsa {

// Names with values; kUnknown for what another check knows.
using Quantities = std::vector<std::pair<const char*, int64_t>>;

// Throws ArgumentError for the first rule that quantities break, and for one that names a quantity or a
// relation that there is none of.
void CheckLimits(const char* op, const std::string& limits, const Quantities& quantities);

}  // namespace ms_nsa
