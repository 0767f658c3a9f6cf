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

using Quantities = std::vector<std::pair<std::string, int64_t>>;

// Throws ArgumentError for the first rule that a known quantity breaks. Rules about quantities that are not
// listed are left to the check that knows them.
void CheckLimits(const std::string& op, const std::string& limits, const Quantities& quantities);

}  // namespace ms_nsa
