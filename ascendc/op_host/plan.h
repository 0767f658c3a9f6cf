// SPDX-License-Identifier: Apache-2.0
// What a tiling decides: cores, workspace, and the bytes of the struct that the kernel reads as tiling data.
// Tilings are pure functions of a call's shapes and attributes: Tile of an operator's struct in op_info.h.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

namespace ms_nsa {

struct Plan {
  std::string params;
  int32_t block_dim;
  int64_t workspace_bytes;
};

template <class Params>
Plan MakePlan(const Params& params, int32_t block_dim, int64_t workspace_bytes) {
  static_assert(std::is_trivially_copyable<Params>::value, "tiling data are bytes");
  return {std::string(reinterpret_cast<const char*>(&params), sizeof(Params)), block_dim, workspace_bytes};
}

}  // namespace ms_nsa
