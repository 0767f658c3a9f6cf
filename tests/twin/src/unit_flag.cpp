// SPDX-License-Identifier: Apache-2.0
// The unit flag: one bit per 512 bytes of L0C that hands a tile from Mmad to Fixpipe without M_FIX and FIX_M.
#include "core.h"
#include "twin/abi.h"

namespace twin {

namespace {
constexpr uint32_t kUnit = 512;
constexpr int kToggle = 3;
}  // namespace

TWIN_API void UnitFlagMmad(Instr& in, const LocalRef& dst, uint32_t bytes, int unit_flag);
TWIN_API void ClearUnitFlags(Instr& in);
TWIN_API void UnitFlagFixpipe(Instr& in, const LocalRef& src, const uint32_t* units, uint32_t count,
                              int unit_flag);

void ClearUnitFlags(Instr& in) {
  auto& flags = in.core().unit_flags;
  flags.assign(flags.size(), 0);
}

void UnitFlagMmad(Instr& in, const LocalRef& dst, uint32_t bytes, int unit_flag) {
  if (!in.ok()) return;
  auto& flags = in.core().unit_flags;
  for (uint32_t u = dst.addr / kUnit; u < (dst.addr + bytes) / kUnit; ++u) {
    if (!in.Require(
            flags[u] == 0, Rule::kUnitFlag,
            "the L0C tile at %u was finished under the unit flag and no Fixpipe with unitFlag 3 has read it",
            dst.addr)) {
      flags[u] = 0;
      return;
    }
    if (unit_flag != kToggle) continue;
    flags[u] = 1;
    in.core().unit_flag_site = in.site();
  }
}

void UnitFlagFixpipe(Instr& in, const LocalRef& src, const uint32_t* units, uint32_t count, int unit_flag) {
  if (!in.ok()) return;
  auto& flags = in.core().unit_flags;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t u = src.addr / kUnit + units[i];
    if (u >= flags.size()) return;
    const bool fits = unit_flag ? flags[u] == 1 : flags[u] == 0;
    if (!in.Require(
            fits, Rule::kUnitFlag,
            unit_flag
                ? "unitFlag is on, but the last Mmad of the tile at %u did not set it (unitFlag 3): hangs"
                : "the tile at %u was finished under the unit flag; Fixpipe must use unitFlag 3",
            src.addr)) {
      flags[u] = 0;
      return;
    }
    if (unit_flag == kToggle) flags[u] = 0;
  }
}

}  // namespace twin
