// SPDX-License-Identifier: Apache-2.0
// DataCopy between GM, L1 and UB in bursts of 32-byte blocks.
#pragma once

#include "twin/copy_params.h"
#include "twin/gm_store.h"

namespace twin {

constexpr int64_t kMaxBursts = 4095;

// A burst copy: `count` pieces of `bytes`, each side advancing by its own stride.
struct Bursts {
  uint32_t count = 1;
  uint32_t bytes = 0;
  uint64_t src_stride = 0, dst_stride = 0;
};

inline Bursts BurstsOf(Instr& in, const AscendC::DataCopyParams& p, uint32_t unit = 32) {
  InRange(in, "blockCount", p.blockCount, 0, kMaxBursts);
  InRange(in, "blockLen", p.blockLen, 0, 65535);
  InRange(in, "srcGap", p.srcGap, 0, 65535);
  InRange(in, "dstGap", p.dstGap, 0, 65535);
  Bursts b;
  b.count = static_cast<uint32_t>(p.blockCount.wide);
  b.bytes = static_cast<uint32_t>(p.blockLen.wide) * unit;
  b.src_stride = b.bytes + static_cast<uint64_t>(p.srcGap.wide) * 32;
  b.dst_stride = b.bytes + static_cast<uint64_t>(p.dstGap.wide) * 32;
  return b;
}

inline Cost BurstCost(Path path, const Bursts& b, uint64_t gm_stride, bool bypass) {
  Cost c{path};
  c.bytes = uint64_t{b.count} * b.bytes;
  c.bursts = b.count;
  c.burst_bytes = b.bytes;
  c.row_stride = gm_stride;
  c.l2_bypass = bypass;
  return c;
}

template <class Dst, class Src>
void TouchBursts(Instr& in, Access read, const Src& src, Access write, const Dst& dst, const Bursts& b) {
  for (uint32_t i = 0; i < b.count && in.ok(); ++i) in.Touch(read, src, "src", i * b.src_stride, b.bytes);
  for (uint32_t i = 0; i < b.count && in.ok(); ++i) in.Touch(write, dst, "dst", i * b.dst_stride, b.bytes);
}

template <class Dst, class Src>
void MoveBursts(Instr& in, const Dst& dst, const Src& src, const Bursts& b) {
  for (uint32_t i = 0; i < b.count; ++i) in.Move(dst, i * b.dst_stride, src, i * b.src_stride, b.bytes);
}

// count form: whole blocks only; the release build of the device drops a tail silently.
template <class T>
AscendC::DataCopyParams WholeBlocks(Instr& in, uint32_t count, uint32_t unit = 32) {
  in.Require(count * sizeof(T) % unit == 0, Rule::kAlignment,
             "count times the element size must be a multiple of %u bytes, got %zu%s", unit,
             count * sizeof(T), unit == 32 ? " (use DataCopyPad)" : "");
  AscendC::DataCopyParams p;
  const uint32_t blocks = static_cast<uint32_t>(count * sizeof(T) / unit);
  p.blockLen = blocks;
  return p;
}

// The documented paths between GM and UB begin and end in VECIN and VECOUT. Which of the two the DataCopy
// forms want for which way is not held against a buffer that serves both.
inline void CheckUbPosition(Instr& in, const LocalRef& ub, const char* operand) {
  in.Require(ub.position != static_cast<uint8_t>(AscendC::TPosition::VECCALC), Rule::kPosition,
             "%s is in VECCALC, but copies from and to GM take VECIN and VECOUT", operand);
}

inline void LoadFromGm(Instr& in, const LocalRef& dst, const GlobalRef& src, const Bursts& b) {
  in.In(dst, "dst", MemBit(Mem::kUb) | MemBit(Mem::kL1), 32);
  CheckUbPosition(in, dst, "dst");
  TouchBursts(in, Access::kLoad, src, Access::kStore, dst, b);
  const Path path = dst.mem == Mem::kUb ? Path::kGmToUb : Path::kGmToL1;
  if (in.Issue(BurstCost(path, b, b.src_stride, src.l2_bypass))) MoveBursts(in, dst, src, b);
}

template <class T>
void StoreToGm(Instr& in, const GlobalRef& dst, const LocalRef& src, const Bursts& b) {
  in.In(src, "src", MemBit(Mem::kUb) | MemBit(Mem::kL1), 32);
  CheckUbPosition(in, src, "src");
  Access kind;
  GmStoreKind<T>(in, kind);
  TouchBursts(in, Access::kRead, src, kind, dst, b);
  const Path path = src.mem == Mem::kUb ? Path::kUbToGm : Path::kL1ToGm;
  if (!in.Issue(BurstCost(path, b, b.dst_stride, dst.l2_bypass))) return;
  for (uint32_t i = 0; i < b.count; ++i) {
    StoreBytes<T>(in, kind, dst, i * b.dst_stride, src, i * b.src_stride, b.bytes);
  }
}

inline void CopyInUb(Instr& in, const LocalRef& dst, const LocalRef& src, const Bursts& b) {
  in.In(dst, "dst", MemBit(Mem::kUb), 32);
  in.In(src, "src", MemBit(Mem::kUb), 32);
  TouchBursts(in, Access::kLoad, src, Access::kStore, dst, b);
  Cost cost{Path::kUbToUb, uint64_t{b.count} * b.bytes};
  cost.repeats = static_cast<uint32_t>((cost.bytes + 255) / 256);
  if (in.Issue(cost)) MoveBursts(in, dst, src, b);
}

// Towards BiasTable and fixpipe buffer lengths count in larger blocks (DataCopy of the device headers).
inline uint32_t LengthUnit(const LocalRef& dst) {
  return dst.mem == Mem::kBt ? 64 : dst.mem == Mem::kFb ? 128 : 32;
}

// C1 -> C2 (BiasTable) and L1 -> fixpipe buffer. The documentation gives the gaps of several bursts two
// meanings, so one burst is all that is modelled.
template <class T>
void CopyFromL1(Instr& in, const LocalRef& dst, const LocalRef& src, const Bursts& b) {
  in.In(dst, "dst", MemBit(Mem::kBt) | MemBit(Mem::kFb), LengthUnit(dst));
  in.In(src, "src", MemBit(Mem::kL1), 32);
  in.Require(b.count <= 1, Rule::kUnsupported, "blockCount above 1 is not modelled towards %s, got %u",
             dst.mem == Mem::kBt ? "the BiasTable" : "the fixpipe buffer", b.count);
  in.Require(dst.mem != Mem::kFb || std::is_same<T, uint64_t>::value, Rule::kType,
             "the fixpipe buffer takes uint64_t, got %s", TypeName<T>::value);
  TouchBursts(in, Access::kLoad, src, Access::kStore, dst, b);
  const Path path = dst.mem == Mem::kBt ? Path::kL1ToBt : Path::kL1ToFb;
  if (in.Issue({path, uint64_t{b.count} * b.bytes})) MoveBursts(in, dst, src, b);
}

inline Pipe LocalCopyPipe(const LocalRef& dst, const LocalRef& src) {
  if (src.mem == Mem::kL1 && dst.mem == Mem::kBt) return Pipe::kMte1;
  if (src.mem == Mem::kL1 && dst.mem == Mem::kFb) return Pipe::kFix;
  return Pipe::kV;
}

template <class T>
void CopyLocal(Instr& in, const LocalRef& dst, const LocalRef& src, const AscendC::DataCopyParams& p) {
  const Bursts b = BurstsOf(in, p, LengthUnit(dst));
  in.pipe() == Pipe::kV ? CopyInUb(in, dst, src, b) : CopyFromL1<T>(in, dst, src, b);
}

}  // namespace twin

namespace AscendC {

template <class T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& repeatParams,
              TWIN_SITE) {
  twin::Instr in("DataCopy", twin::Pipe::kMte2, site);
  twin::LoadFromGm(in, dst.ref(), src.ref(), twin::BurstsOf(in, repeatParams));
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const uint32_t count, TWIN_SITE) {
  twin::Instr in("DataCopy", twin::Pipe::kMte2, site);
  twin::LoadFromGm(in, dst.ref(), src.ref(), twin::BurstsOf(in, twin::WholeBlocks<T>(in, count)));
}
template <class T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& repeatParams,
              TWIN_SITE) {
  twin::Instr in("DataCopy", twin::Pipe::kMte3, site);
  twin::StoreToGm<T>(in, dst.ref(), src.ref(), twin::BurstsOf(in, repeatParams));
}
template <class T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count, TWIN_SITE) {
  twin::Instr in("DataCopy", twin::Pipe::kMte3, site);
  twin::StoreToGm<T>(in, dst.ref(), src.ref(), twin::BurstsOf(in, twin::WholeBlocks<T>(in, count)));
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& repeatParams,
              TWIN_SITE) {
  twin::Instr in("DataCopy", twin::LocalCopyPipe(dst.ref(), src.ref()), site);
  twin::CopyLocal<T>(in, dst.ref(), src.ref(), repeatParams);
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count, TWIN_SITE) {
  twin::Instr in("DataCopy", twin::LocalCopyPipe(dst.ref(), src.ref()), site);
  twin::CopyLocal<T>(in, dst.ref(), src.ref(), twin::WholeBlocks<T>(in, count, twin::LengthUnit(dst.ref())));
}

}  // namespace AscendC
