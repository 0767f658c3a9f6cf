// SPDX-License-Identifier: Apache-2.0
// The limits of a device, defined in op_info and passed as text: rules separated by ';'. Each rule has a
// quantity, a relation and operands: "D1 in 192; N2 max 256; select_block_size multiple 16; q_len max
// kv_len".
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ms_nsa {

// Names with values; kUnknown for quantities that another check knows.
using Quantities = std::vector<std::pair<const char*, int64_t>>;

// Throws ArgumentError for the first rule that is broken, and for a rule with an unknown quantity or
// relation.
void CheckLimits(const char* op, const std::string& limits, const Quantities& quantities);

}  // namespace ms_nsa
