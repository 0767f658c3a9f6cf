// SPDX-License-Identifier: Apache-2.0
// Brcb (8 scalars to 8 blocks a repeat), Copy (UB to UB with strides), CreateVecIndex.
#pragma once

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace AscendC {

template <class T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const twin::Repeat repeatTime,
          const BrcbRepeatParams& repeatParams, TWIN_SITE) {
  using namespace twin;
  Instr in("Brcb", Pipe::kV, site);
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kType, "takes 16- and 32-bit types only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src", kUbOnly, 32);
  Fits(in, "repeatTime", repeatTime);
  Fits(in, "dstRepStride", repeatParams.dstRepStride);
  Fits(in, "dstBlkStride", repeatParams.dstBlkStride);
  in.Require(repeatParams.dstBlkStride.wide != 0, Rule::kRange, "dstBlkStride must not be 0");
  const int64_t repeats = repeatTime.wide;
  const uint64_t source_end = src.ref().addr + static_cast<uint64_t>(repeats) * 8 * sizeof(T);
  const uint64_t target_end = dst.ref().addr + static_cast<uint64_t>(repeats) * 256;
  in.Require(source_end <= dst.ref().addr || target_end <= src.ref().addr, Rule::kOverlap,
             "dst and src overlap");
  if (!in.ok()) return;
  auto to = [&](int64_t i) {
    return static_cast<uint64_t>(i / 8 * repeatParams.dstRepStride.wide +
                                 i % 8 * repeatParams.dstBlkStride.wide) *
           32;
  };
  in.Touch(Access::kRead, src.ref(), "src", 0, static_cast<uint64_t>(repeats) * 8 * sizeof(T));
  for (int64_t i = 0; i < repeats * 8; ++i) in.Touch(Access::kWrite, dst.ref(), "dst", to(i), 32);
  Cost cost{Path::kVector};
  cost.repeats = static_cast<uint32_t>(repeats);
  if (!in.Issue(cost)) return;
  for (int64_t i = 0; i < repeats * 8; ++i) {
    for (uint32_t b = 0; b < 32; b += sizeof(T)) {
      std::memcpy(in.Data(dst.ref(), to(i) + b), in.Data(src.ref(), static_cast<uint64_t>(i) * sizeof(T)),
                  sizeof(T));
    }
  }
}

template <class T>
void CopyLanes(const LocalTensor<T>& dst, const LocalTensor<T>& src, const twin::Lanes& lanes,
               const CopyRepeatParams& p, twin::Site site) {
  twin::Instr in("Copy", twin::Pipe::kV, site);
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, twin::Rule::kType, "takes 16- and 32-bit types only");
  twin::InRange(in, "dstRepeatSize", p.dstRepeatSize, 0, 255);
  twin::InRange(in, "srcRepeatSize", p.srcRepeatSize, 0, 255);
  twin::RunUnary(in, dst, src, lanes, {p.dstStride, p.dstRepeatSize}, {p.srcStride, p.srcRepeatSize},
                 [](T v) { return v; });
}
template <class T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],
          const twin::Repeat repeatTime, const CopyRepeatParams& repeatParams, TWIN_SITE) {
  CopyLanes(dst, src, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), repeatParams, site);
}
template <class T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask,
          const twin::Repeat repeatTime, const CopyRepeatParams& repeatParams, TWIN_SITE) {
  CopyLanes(dst, src, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), repeatParams, site);
}

template <class T>
void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint32_t count, TWIN_SITE) {
  using namespace twin;
  Instr in("CreateVecIndex", Pipe::kV, site);
  RequireType<T, half, float, int16_t, int32_t>(in);
  in.In(dst.ref(), "dst", kUbOnly, 32);
  const Lanes lanes = CountLanes(count, sizeof(T));
  CheckLanes(in, lanes);
  TouchLanes(in, Access::kWrite, dst.ref(), "dst", sizeof(T), Dense<T>(), lanes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  if (!in.Issue(cost)) return;
  const View<T> to(in.Data(dst.ref()), Dense<T>());
  ForLanes(lanes, [&](uint32_t r, uint32_t l) {
    to.Store(r, l, static_cast<T>(firstValue + static_cast<T>(r * lanes.width + l)));
  });
}

}  // namespace AscendC
