// SPDX-License-Identifier: Apache-2.0
// Fixpipe: L0C to GM (ND or NZ) or to L1 (NZ), with conversion and ReLU.
#pragma once

#include "twin/gm_store.h"
#include "twin/mmad.h"

namespace twin {

template <class T, class U>
bool QuantFits(QuantMode_t mode) {
  if (std::is_same<T, U>::value) return mode == NoQuant;
  if (std::is_same<T, half>::value && std::is_same<U, float>::value) return mode == F322F16;
  return std::is_same<T, bfloat16_t>::value && std::is_same<U, float>::value && mode == F322BF16;
}

template <class T, class U>
void CheckFixpipe(Instr& in, const AscendC::LocalTensor<U>& src, const AscendC::FixpipeParamsV220& p,
                  bool nd) {
  in.In(src.ref(), "src", MemBit(Mem::kL0c), 64);
  InRange(in, "nSize", p.nSize, 0, 4095);
  InRange(in, "mSize", p.mSize, 0, nd ? 8192 : 65535);
  InRange(in, "srcStride", p.srcStride, 0, 65535);
  Fits(in, "dstStride", p.dstStride);
  InRange(in, "ndNum", p.ndNum, 0, 65535);
  InRange(in, "srcNdStride", p.srcNdStride, 0, 512);
  InRange(in, "dstNdStride", p.dstNdStride, 0, 65535);
  const int64_t unit = p.isChannelSplit ? 8 : 16;
  in.Require(nd || p.nSize.wide % unit == 0, Rule::kRange, "nSize must be a multiple of %lld in NZ, got %lld",
             static_cast<long long>(unit), static_cast<long long>(p.nSize.wide));
  in.Require(!p.isChannelSplit || (std::is_same<T, float>::value && !nd), Rule::kType,
             "isChannelSplit is for float in NZ");
  in.Require(QuantFits<T, U>(p.quantPre), Rule::kType, "quantPre %d does not convert %s to %s", p.quantPre,
             TypeName<U>::value, TypeName<T>::value);
  in.Require(p.unitFlag == 0 || p.unitFlag == 2 || p.unitFlag == 3, Rule::kUnitFlag,
             "unitFlag must be 0, 2 or 3, got %d", p.unitFlag);
}

// f(nd, row, column, columns, byte offset in L0C, element offset in dst) for each run of contiguous columns.
template <class F>
void ForRuns(const AscendC::FixpipeParamsV220& p, bool nd, uint32_t size, F f) {
  const uint32_t run = nd || !p.isChannelSplit ? 16 : 8;
  const uint64_t slab = nd ? 0 : static_cast<uint64_t>(p.dstStride.wide) * 32 / size;
  for (int64_t q = 0; q < (nd ? p.ndNum.wide : 1); ++q) {
    for (uint32_t j = 0; j < p.nSize.wide; j += run) {
      const uint32_t columns = std::min<uint32_t>(run, static_cast<uint32_t>(p.nSize.wide) - j);
      for (uint32_t i = 0; i < p.mSize.wide; ++i) {
        const uint64_t from =
            q * p.srcNdStride.wide * 256 + uint64_t{j / 16} * p.srcStride.wide * 16 + i * 16 + j % 16;
        const uint64_t to = nd ? q * p.dstNdStride.wide + uint64_t{i} * p.dstStride.wide + j
                               : j / run * slab + uint64_t{i} * run;
        f(i, j, columns, from * 4, to);
      }
    }
  }
}

template <class T, class U>
void ConvertRun(const uint8_t* from, T* to, uint32_t columns, bool relu) {
  for (uint32_t c = 0; c < columns; ++c) {
    U v;
    std::memcpy(&v, from + c * sizeof(U), sizeof(U));
    if (relu && !(v > U(0))) v = U(0);
    to[c] = static_cast<T>(v);
  }
}

inline std::vector<uint32_t> UnitsOf(const AscendC::FixpipeParamsV220& p, bool nd) {
  std::vector<uint32_t> units;
  ForRuns(p, nd, 4, [&](uint32_t, uint32_t, uint32_t, uint64_t from, uint64_t) {
    const uint32_t u = static_cast<uint32_t>(from / 512);
    if (units.empty() || units.back() != u) units.push_back(u);
  });
  return units;
}

template <class T, class U, class Dst, class Put>
void RunFixpipe(Instr& in, const Dst& dst, Access kind, const AscendC::LocalTensor<U>& src,
                const AscendC::FixpipeParamsV220& p, bool nd, Path path, Put put) {
  if (!in.ok()) return;
  ForRuns(p, nd, sizeof(T), [&](uint32_t, uint32_t, uint32_t n, uint64_t from, uint64_t) {
    in.Touch(Access::kRead, src.ref(), "src", from, n * 4);
  });
  ForRuns(p, nd, sizeof(T), [&](uint32_t, uint32_t, uint32_t n, uint64_t, uint64_t to) {
    in.Touch(kind, dst, "dst", to * sizeof(T), n * sizeof(T));
  });
  if (p.unitFlag) in.UnitFlagOrdered();
  const std::vector<uint32_t> units = UnitsOf(p, nd);
  UnitFlagFixpipe(in, src.ref(), units.data(), static_cast<uint32_t>(units.size()), p.unitFlag);
  Cost cost{path};
  cost.work = static_cast<uint64_t>(p.mSize.wide * p.nSize.wide * (nd ? p.ndNum.wide : 1));
  cost.bytes = cost.work * sizeof(T);
  cost.bursts = static_cast<uint32_t>(p.mSize.wide);
  cost.burst_bytes = static_cast<uint32_t>(p.nSize.wide * sizeof(T));
  cost.row_stride = nd ? static_cast<uint64_t>(p.dstStride.wide) * sizeof(T) : cost.burst_bytes;
  if (!in.Issue(cost)) return;
  ForRuns(p, nd, sizeof(T), [&](uint32_t, uint32_t, uint32_t n, uint64_t from, uint64_t to) {
    T out[16];
    ConvertRun<T, U>(in.Data(src.ref(), from), out, n, p.reluEn);
    put(to * sizeof(T), out, static_cast<uint32_t>(n * sizeof(T)));
  });
}

template <class T>
void SetFixpipeTensor(const AscendC::LocalTensor<T>& data, bool clear, Site site) {
  Instr in("SetFixPipeConfig", Pipe::kFix, site);
  in.Require(std::is_same<T, uint64_t>::value || clear, Rule::kType, "takes uint64_t, got %s",
             TypeName<T>::value);
  in.In(data.ref(), "preData", clear ? MemBit(Mem::kL0c) | MemBit(Mem::kFb) : MemBit(Mem::kFb), 1);
  if (clear && in.ok()) ClearUnitFlags(in);
}

}  // namespace twin

namespace AscendC {

template <class T, class U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& intriParams,
             TWIN_SITE) {
  using namespace twin;
  Instr in("Fixpipe", Pipe::kFix, site);
  constexpr bool nd = config.format == CO2Layout::ROW_MAJOR;
  CheckFixpipe<T>(in, src, intriParams, nd);
  Access kind;
  GmStoreKind<T>(in, kind);
  if (kind == Access::kStore) kind = Access::kWrite;
  RunFixpipe<T>(in, dst.ref(), kind, src, intriParams, nd, Path::kL0cToGm,
                [&](uint64_t to, T* out, uint32_t bytes) {
                  uint8_t* at = dst.ref().addr + to;
                  if (kind == Access::kAtomic) {
                    AddBytes<T>(at, reinterpret_cast<uint8_t*>(out), bytes);
                  } else {
                    std::memcpy(at, out, bytes);
                  }
                });
}

template <class T, class U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const LocalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& intriParams,
             TWIN_SITE) {
  using namespace twin;
  Instr in("Fixpipe", Pipe::kFix, site);
  in.In(dst.ref(), "dst", MemBit(Mem::kL1), 32);
  in.Require(config.format == CO2Layout::NZ, Rule::kUnsupported, "L0C to L1 is NZ only (CFG_NZ)");
  in.Require(sizeof(T) < 4, Rule::kType, "L0C to L1 needs a 16- or 8-bit output");
  CheckFixpipe<T>(in, src, intriParams, false);
  RunFixpipe<T>(
      in, dst.ref(), Access::kWrite, src, intriParams, false, Path::kL0cToL1,
      [&](uint64_t to, T* out, uint32_t bytes) { std::memcpy(in.Data(dst.ref(), to), out, bytes); });
}

// Registers behind Fixpipe. Each Fixpipe call of this overload sets its own, so they only matter to the unit
// flags, which isUnitFlag clears.
template <class T>
void SetFixPipeConfig(const LocalTensor<T>& reluPre, const LocalTensor<T>& quantPre, bool isUnitFlag = false,
                      TWIN_SITE) {
  (void)reluPre;
  twin::SetFixpipeTensor(quantPre, isUnitFlag, site);
}
template <class T, bool setRelu = false>
void SetFixPipeConfig(const LocalTensor<T>& preData, bool isUnitFlag = false, TWIN_SITE) {
  static_assert(!setRelu, "the device takes setRelu = false only");
  twin::SetFixpipeTensor(preData, isUnitFlag, site);
}
inline void SetFixpipeNz2ndFlag(twin::Field<uint16_t> ndNum, twin::Field<uint16_t> srcNdStride,
                                twin::Field<uint16_t> dstNdStride, TWIN_SITE) {
  twin::Instr in("SetFixpipeNz2ndFlag", twin::Pipe::kFix, site);
  twin::InRange(in, "ndNum", ndNum, 1, 65535);
  twin::InRange(in, "srcNdStride", srcNdStride, ndNum.wide > 1 ? 1 : 0, 512);
  twin::InRange(in, "dstNdStride", dstNdStride, ndNum.wide > 1 ? 1 : 0, 65535);
}
inline void SetFixpipePreQuantFlag(uint64_t, TWIN_SITE) {
  twin::Instr in("SetFixpipePreQuantFlag", twin::Pipe::kFix, site);
}

}  // namespace AscendC
