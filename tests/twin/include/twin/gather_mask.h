// SPDX-License-Identifier: Apache-2.0
// GatherMask: compacts the elements whose mask bit is 1, by one of seven fixed patterns or by bits in a
// tensor.
#pragma once

#include <vector>

#include "twin/vector_params.h"

namespace twin {

// Element i of a repeat under the fixed patterns 1 to 7.
inline bool PatternBit(uint8_t pattern, uint32_t i) {
  switch (pattern) {
    case 1:
    case 2:
      return i % 2 == pattern - 1u;
    case 7:
      return true;
    default:
      return i % 4 == pattern - 3u;
  }
}

struct GatherMaskShape {
  uint32_t repeats, width;  // elements of one repeat
  Strides src;
};

template <class T>
GatherMaskShape CheckGatherMask(Instr& in, const AscendC::LocalTensor<T>& dst,
                                const AscendC::LocalTensor<T>& src, bool counter, uint32_t mask,
                                const AscendC::GatherMaskParams& p) {
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kType, "takes 16- and 32-bit types only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src0", kUbOnly, 32);
  Fits(in, "src0BlockStride", p.src0BlockStride);
  Fits(in, "repeatTimes", p.repeatTimes);
  Fits(in, "src0RepeatStride", p.src0RepeatStride);
  Fits(in, "src1RepeatStride", p.src1RepeatStride);
  in.Require(!counter || mask > 0, Rule::kMask, "mask must be at least 1 in counter mode");
  MaskState() = VectorMask{};
  const Strides s{p.src0BlockStride.wide, 1, static_cast<uint32_t>(p.src0RepeatStride.wide) * 32};
  return {static_cast<uint32_t>(p.repeatTimes.wide), counter ? mask : uint32_t(256 / sizeof(T)), s};
}

template <class T>
uint64_t GatherSource(const GatherMaskShape& g, uint32_t repeat, uint32_t i) {
  constexpr uint32_t per_block = 32 / sizeof(T);
  return uint64_t{repeat} * g.src.unit +
         uint64_t{i / per_block} * static_cast<uint32_t>(g.src.block.wide) * 32 + i % per_block * sizeof(T);
}

// bit(repeat, element) says what is kept; returns how many elements that is.
template <class T, class Bit>
uint64_t RunGatherMask(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                       const GatherMaskShape& g, Bit bit) {
  if (!in.ok()) return 0;
  std::vector<uint64_t> kept;
  for (uint32_t r = 0; r < g.repeats && in.ok(); ++r) {
    for (uint32_t i = 0; i < g.width && in.ok(); ++i) {
      const uint64_t at = GatherSource<T>(g, r, i);
      in.Touch(Access::kRead, src.ref(), "src0", at, sizeof(T));
      if (bit(r, i)) kept.push_back(at);
    }
  }
  const uint64_t end = dst.ref().addr + kept.size() * sizeof(T);
  const uint64_t source_end =
      src.ref().addr + (g.repeats ? GatherSource<T>(g, g.repeats - 1, g.width - 1) : 0);
  in.Require(dst.ref().addr == src.ref().addr || end <= src.ref().addr || source_end < dst.ref().addr,
             Rule::kOverlap, "dst and src0 overlap in part");
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, kept.size() * sizeof(T));
  Cost cost{Path::kVector};
  cost.repeats = g.repeats * ((g.width * static_cast<uint32_t>(sizeof(T)) + 255) / 256);
  if (!in.Issue(cost)) return 0;
  std::vector<T> values(kept.size());
  for (size_t i = 0; i < kept.size(); ++i) std::memcpy(&values[i], in.Data(src.ref(), kept[i]), sizeof(T));
  if (!values.empty()) std::memcpy(in.Data(dst.ref()), values.data(), values.size() * sizeof(T));
  return kept.size();
}

}  // namespace twin

namespace AscendC {

template <class T, GatherMaskMode mode = defaultGatherMaskMode>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const uint8_t src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& gatherMaskParams,
                uint64_t& rsvdCnt, TWIN_SITE) {
  using namespace twin;
  Instr in("GatherMask", Pipe::kV, site);
  in.Require(src1Pattern >= 1 && src1Pattern <= 7, Rule::kRange, "src1Pattern must lie in [1, 7], got %d",
             src1Pattern);
  const GatherMaskShape g = CheckGatherMask(in, dst, src0, reduceMode, mask, gatherMaskParams);
  rsvdCnt = RunGatherMask(in, dst, src0, g, [&](uint32_t, uint32_t i) { return PatternBit(src1Pattern, i); });
}

template <class T, class U, GatherMaskMode mode = defaultGatherMaskMode>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<U>& src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& gatherMaskParams,
                uint64_t& rsvdCnt, TWIN_SITE) {
  using namespace twin;
  Instr in("GatherMask", Pipe::kV, site);
  in.Require(sizeof(U) == sizeof(T) && std::is_unsigned<U>::value, Rule::kType,
             "the mask tensor must be unsigned and as wide as %s, got %s", TypeName<T>::value,
             TypeName<U>::value);
  in.In(src1Pattern.ref(), "src1Pattern", kUbOnly, 32);
  const GatherMaskShape g = CheckGatherMask(in, dst, src0, reduceMode, mask, gatherMaskParams);
  const uint64_t step = static_cast<uint64_t>(gatherMaskParams.src1RepeatStride.wide) * 32;
  for (uint32_t r = 0; r < g.repeats && in.ok(); ++r)
    in.Touch(Access::kRead, src1Pattern.ref(), "src1Pattern", r * step, (g.width + 7) / 8);
  rsvdCnt = RunGatherMask(in, dst, src0, g, [&](uint32_t r, uint32_t i) {
    return *in.Data(src1Pattern.ref(), r * step + i / 8) >> i % 8 & 1;
  });
}

}  // namespace AscendC
