// SPDX-License-Identifier: Apache-2.0
// DataCopy GM -> L1 with the change of layout from ND to NZ on the way.
#pragma once

#include "twin/datacopy.h"

namespace twin {

inline void CheckNd2Nz(Instr& in, const AscendC::Nd2NzParams& p) {
  InRange(in, "ndNum", p.ndNum, 0, 4095);
  InRange(in, "nValue", p.nValue, 0, 16384);
  InRange(in, "dValue", p.dValue, 0, 65535);
  InRange(in, "srcNdMatrixStride", p.srcNdMatrixStride, 0, 65535);
  InRange(in, "srcDValue", p.srcDValue, 1, 65535);
  InRange(in, "dstNzC0Stride", p.dstNzC0Stride, 1, 16384);
  InRange(in, "dstNzNStride", p.dstNzNStride, 1, 16384);
  InRange(in, "dstNzMatrixStride", p.dstNzMatrixStride, 0, 65535);
}

// One row of 32 bytes in L1: C0 columns of one ND row, the last slab padded with zeros.
template <class F>
void ForNzRows(const AscendC::Nd2NzParams& p, uint32_t size, F f) {
  const uint64_t c0 = 32 / size, columns = p.dValue.wide;
  const uint64_t slabs = (columns + c0 - 1) / c0;
  for (int64_t q = 0; q < p.ndNum.wide; ++q) {
    for (uint64_t slab = 0; slab < slabs; ++slab) {
      for (int64_t i = 0; i < p.nValue.wide; ++i) {
        const uint64_t src = q * p.srcNdMatrixStride.wide + i * p.srcDValue.wide + slab * c0;
        const uint64_t dst =
            q * p.dstNzMatrixStride.wide + slab * p.dstNzC0Stride.wide * c0 + i * p.dstNzNStride.wide * c0;
        const uint64_t valid = std::min<uint64_t>(c0, columns - slab * c0);
        f(src * size, dst * size, static_cast<uint32_t>(valid * size));
      }
    }
  }
}

}  // namespace twin

namespace AscendC {

template <class T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const Nd2NzParams& intriParams,
              TWIN_SITE) {
  using namespace twin;
  Instr in("DataCopy(Nd2Nz)", twin::Pipe::kMte2, site);
  const Nd2NzParams& p = intriParams;
  in.In(dst.ref(), "dst", MemBit(Mem::kL1), 32);
  CheckNd2Nz(in, p);
  if (!in.ok()) return;
  const uint64_t row_bytes = p.dValue.wide * sizeof(T);
  for (int64_t q = 0; q < p.ndNum.wide && in.ok(); ++q) {
    for (int64_t i = 0; i < p.nValue.wide && in.ok(); ++i) {
      in.Touch(Access::kLoad, src.ref(), "src",
               (q * p.srcNdMatrixStride.wide + i * p.srcDValue.wide) * sizeof(T), row_bytes);
    }
  }
  ForNzRows(p, sizeof(T),
            [&](uint64_t, uint64_t to, uint32_t) { in.Touch(Access::kStore, dst.ref(), "dst", to, 32); });
  Cost cost{Path::kGmToL1};
  cost.bursts = static_cast<uint32_t>(p.ndNum.wide * p.nValue.wide);
  cost.burst_bytes = static_cast<uint32_t>(row_bytes);
  cost.bytes = row_bytes * cost.bursts;
  cost.row_stride = p.nValue.wide > 1 ? p.srcDValue.wide * sizeof(T) : p.srcNdMatrixStride.wide * sizeof(T);
  cost.l2_bypass = src.ref().l2_bypass;
  if (!in.Issue(cost)) return;
  ForNzRows(p, sizeof(T), [&](uint64_t from, uint64_t to, uint32_t valid) {
    in.Move(dst.ref(), to, src.ref(), from, valid);
    if (valid == 32) return;
    std::memset(in.Data(dst.ref(), to + valid), 0, 32 - valid);
    in.MarkWritten(dst.ref(), to + valid, 32 - valid);
  });
}

}  // namespace AscendC
