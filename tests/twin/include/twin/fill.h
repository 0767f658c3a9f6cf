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

}  // namespace AscendC
