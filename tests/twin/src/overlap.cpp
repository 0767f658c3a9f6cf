// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "twin/lanes.h"

namespace twin {

namespace {

constexpr uint32_t kBlock = 32;

// f(repeat, block of the repeat, byte address of the block) for each block with an active lane.
template <class F>
void ForBlocks(const Side& side, const Lanes& lanes, F f) {
  const uint32_t per_block = kBlock / side.size;
  for (uint32_t r = 0; r < lanes.Repeats(); ++r) {
    const uint32_t end = lanes.prefix ? lanes.Front(r) : lanes.width;
    const uint64_t base =
        side.tensor.addr + uint64_t{r} * static_cast<uint8_t>(side.strides.repeat) * side.strides.unit;
    for (uint32_t lane = 0; lane < end; lane += per_block) {
      const uint32_t block = lane / per_block;
      f(r, block, base + uint64_t{block} * static_cast<uint16_t>(side.strides.block) * kBlock);
    }
  }
}

uint64_t End(const Side& side, const Lanes& lanes) {
  const uint64_t repeats = lanes.Repeats(), blocks = lanes.width * side.size / kBlock;
  return side.tensor.addr +
         (repeats - 1) * static_cast<uint8_t>(side.strides.repeat) * uint64_t{side.strides.unit} +
         ((blocks ? blocks - 1 : 0) * static_cast<uint16_t>(side.strides.block) + 1) * uint64_t{kBlock};
}

bool SameWalk(const Side& a, const Side& b) {
  return a.tensor.addr == b.tensor.addr && a.size == b.size && a.strides.block.wide == b.strides.block.wide &&
         a.strides.repeat.wide == b.strides.repeat.wide && a.strides.unit == b.strides.unit;
}

}  // namespace

void CheckOverlap(Instr& in, const Side& dst, const Side& src, const Lanes& lanes, bool accumulates) {
  if (!in.checking() || !in.ok() || lanes.Repeats() == 0 || dst.tensor.mem != src.tensor.mem) return;
  if (End(dst, lanes) <= src.tensor.addr || End(src, lanes) <= dst.tensor.addr) return;
  const bool still =
      static_cast<uint8_t>(dst.strides.repeat) == 0 || static_cast<uint8_t>(src.strides.repeat) == 0;
  if (SameWalk(dst, src) && (!still || lanes.Repeats() == 1)) return;
  struct Written {
    uint32_t repeat, block;
  };
  std::unordered_map<uint64_t, Written> written;
  ForBlocks(dst, lanes, [&](uint32_t r, uint32_t b, uint64_t at) { written.emplace(at, Written{r, b}); });
  bool ok = true;
  ForBlocks(src, lanes, [&](uint32_t r, uint32_t b, uint64_t at) {
    const auto found = written.find(at);
    if (!ok || found == written.end()) return;
    const Written& w = found->second;
    if (w.repeat == r) {
      // A narrowing Cast in place writes blocks that the same repeat has read or is reading.
      const bool narrows = dst.size < src.size && w.block <= b;
      ok = (dst.size == src.size && w.block == b) || narrows;
    } else if (w.repeat < r) {
      ok = accumulates && still;
    }
    in.Require(ok, Rule::kOverlap,
               "dst writes in repeat %u what %s reads in repeat %u as another element (address %llu)",
               w.repeat, src.operand, r, static_cast<unsigned long long>(at));
  });
}

}  // namespace twin
