// SPDX-License-Identifier: Apache-2.0
// Fill (InitConstValue): a constant into L1 or L0, and InitOutput over GM.
#pragma once

#include <cstring>

#include "twin/datacopy.h"
#include "twin/loaddata.h"

namespace AscendC {

template <class T, class U = T>
void Fill(const LocalTensor<T>& dst, const InitConstValueParams<U>& p, TWIN_SITE) {
  using namespace twin;
  const bool l1 = dst.ref().mem == Mem::kL1;
  Instr in("Fill", l1 ? Pipe::kMte2 : Pipe::kMte1, site);
  const uint32_t block = l1 ? 32 : kFractal;
  in.In(dst.ref(), "dst", kL0Inputs | MemBit(Mem::kL1), block);
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kType, "takes 16- and 32-bit types only");
  InRange(in, "repeatTimes", p.repeatTimes, 0, 32767);
  InRange(in, "blockNum", p.blockNum, 0, 32767);
  InRange(in, "dstGap", p.dstGap, 0, 32767);
  if (!in.ok()) return;
  const uint64_t bytes = static_cast<uint64_t>(p.blockNum.wide) * block;
  const uint64_t stride = bytes + static_cast<uint64_t>(p.dstGap.wide) * block;
  for (int64_t r = 0; r < p.repeatTimes.wide; ++r)
    in.Touch(Access::kWrite, dst.ref(), "dst", r * stride, bytes);
  if (!in.Issue({l1 ? Path::kL1Fill : Path::kL0Fill, bytes * static_cast<uint64_t>(p.repeatTimes.wide)}))
    return;
  const T value = static_cast<T>(p.initValue);
  for (int64_t r = 0; r < p.repeatTimes.wide; ++r) {
    for (uint64_t b = 0; b < bytes; b += sizeof(T))
      std::memcpy(in.Data(dst.ref(), r * stride + b), &value, sizeof(T));
  }
}
template <class T, class U = T>
void InitConstValue(const LocalTensor<T>& dst, const InitConstValueParams<U>& p, TWIN_SITE) {
  Fill(dst, p, site);
}

// Zero-fill of GM from the UB behind the buffers. Vector cores only: a cube core returns at once.
template <class T>
void InitOutput(GlobalTensor<T> gmWorkspaceAddr, uint32_t size, T value = 0, TWIN_SITE) {
  using namespace twin;
  if (kCubeHalf) return;
  Instr in("InitOutput", Pipe::kMte3, site);
  in.Require(UbUsed() + 32 <= UbCapacity(), Rule::kCapacity,
             "needs free UB behind the buffers, but they reach %llu",
             static_cast<unsigned long long>(UbUsed()));
  Access kind;
  GmStoreKind<T>(in, kind);
  in.Touch(kind == Access::kStore ? Access::kWrite : kind, gmWorkspaceAddr.ref(), "gm", 0,
           uint64_t{size} * sizeof(T));
  Bursts b;
  b.bytes = static_cast<uint32_t>(size * sizeof(T));
  if (!in.Issue(BurstCost(Path::kUbToGm, b, b.bytes, gmWorkspaceAddr.ref().l2_bypass))) return;
  for (uint64_t i = 0; i < size; ++i) {
    uint8_t* at = gmWorkspaceAddr.ref().addr + i * sizeof(T);
    if (kind == Access::kAtomic) {
      AddBytes<T>(at, reinterpret_cast<const uint8_t*>(&value), sizeof(T));
    } else {
      std::memcpy(at, &value, sizeof(T));
    }
  }
}

}  // namespace AscendC
