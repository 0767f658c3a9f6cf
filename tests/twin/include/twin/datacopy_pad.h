// SPDX-License-Identifier: Apache-2.0
// DataCopyPad: GM <-> UB with byte-exact bursts; each burst starts on its own 32-byte row of UB.
#pragma once

#include "twin/datacopy.h"

namespace twin {

constexpr uint32_t RowBytes(uint32_t bytes) {
  return (bytes + 31) / 32 * 32;
}

inline Bursts PadBursts(Instr& in, const AscendC::DataCopyExtParams& p, uint32_t size, bool to_ub,
                        uint32_t pad_bytes) {
  InRange(in, "blockCount", p.blockCount, 0, kMaxBursts);
  InRange(in, "blockLen", p.blockLen, 0, 2097151);
  in.Require(p.blockLen.wide % size == 0, Rule::kRange,
             "blockLen must be a multiple of the element size %u, got %lld", size,
             static_cast<long long>(p.blockLen.wide));
  Fits(in, "srcStride", p.srcStride);
  Fits(in, "dstStride", p.dstStride);
  Bursts b;
  b.count = static_cast<uint32_t>(p.blockCount.wide);
  b.bytes = static_cast<uint32_t>(p.blockLen.wide);
  const uint64_t row = RowBytes(b.bytes + pad_bytes);
  const uint64_t gm_gap = static_cast<uint64_t>(to_ub ? p.srcStride.wide : p.dstStride.wide);
  const uint64_t ub_gap = static_cast<uint64_t>(to_ub ? p.dstStride.wide : p.srcStride.wide) * 32;
  b.src_stride = to_ub ? b.bytes + gm_gap : row + ub_gap;
  b.dst_stride = to_ub ? row + ub_gap : b.bytes + gm_gap;
  return b;
}

struct Padding {
  bool on = false;
  uint32_t left = 0, right = 0;  // bytes
  uint64_t value = 0;
  uint32_t size = 1;
};

inline void CheckPadding(Instr& in, const Padding& p) {
  in.Require(p.left <= 32 && p.right <= 32, Rule::kRange,
             "padding must be at most 32 bytes on each side, got %u and %u", p.left, p.right);
  in.Require(p.size < 8 || p.value == 0, Rule::kRange, "64-bit elements can only be padded with 0");
}

inline void FillPattern(uint8_t* to, uint32_t bytes, const Padding& p) {
  for (uint32_t i = 0; i + p.size <= bytes; i += p.size) std::memcpy(to + i, &p.value, p.size);
}

inline void PadGap(Instr& in, const LocalRef& dst, uint64_t at, uint32_t bytes, bool defined,
                   const Padding& p) {
  if (defined) {
    FillPattern(in.Data(dst, at), bytes, p);
    in.MarkWritten(dst, at, bytes);
  } else {
    std::memset(in.Data(dst, at), 0xff, bytes);
    in.MarkUnwritten(dst, at, bytes);
  }
}

// The padding takes its place with isPad or without; only isPad gives it a value. The filler up to the next
// 32 bytes takes that value too if there is any padding; else it is unwritten for the checks.
inline void PadRow(Instr& in, const LocalRef& dst, uint64_t row, const Bursts& b, const Padding& p) {
  const uint32_t end = p.left + b.bytes, whole = RowBytes(end + p.right);
  PadGap(in, dst, row, p.left, p.on, p);
  PadGap(in, dst, row + end, whole - end, p.on && p.left + p.right > 0, p);
}

inline void LoadPadded(Instr& in, const LocalRef& dst, const GlobalRef& src, const Bursts& b,
                       const Padding& p) {
  in.In(dst, "dst", MemBit(Mem::kUb), 32);
  CheckUbPosition(in, dst, "dst");
  CheckPadding(in, p);
  const uint32_t row = RowBytes(p.left + b.bytes + p.right);
  for (uint32_t i = 0; i < b.count && in.ok(); ++i)
    in.Touch(Access::kLoad, src, "src", i * b.src_stride, b.bytes);
  for (uint32_t i = 0; i < b.count && in.ok(); ++i)
    in.Touch(Access::kStore, dst, "dst", i * b.dst_stride, row);
  if (!in.Issue(BurstCost(Path::kGmToUb, b, b.src_stride, src.l2_bypass))) return;
  for (uint32_t i = 0; i < b.count; ++i) {
    in.Move(dst, i * b.dst_stride + p.left, src, i * b.src_stride, b.bytes);
    PadRow(in, dst, i * b.dst_stride, b, p);
  }
}

}  // namespace twin

namespace AscendC {

template <class T, class U = T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src,
                 const DataCopyExtParams& dataCopyParams, const DataCopyPadExtParams<U>& padParams,
                 TWIN_SITE) {
  twin::Instr in("DataCopyPad", twin::Pipe::kMte2, site);
  twin::Padding p;
  p.on = padParams.isPad;
  p.left = static_cast<uint32_t>(padParams.leftPadding.wide * sizeof(T));
  p.right = static_cast<uint32_t>(padParams.rightPadding.wide * sizeof(T));
  p.size = sizeof(T);
  std::memcpy(&p.value, &padParams.paddingValue, sizeof(T));
  twin::LoadPadded(in, dst.ref(), src.ref(),
                   twin::PadBursts(in, dataCopyParams, sizeof(T), true, p.left + p.right), p);
}
template <class T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src,
                 const DataCopyExtParams& dataCopyParams, TWIN_SITE) {
  twin::Instr in("DataCopyPad", twin::Pipe::kMte3, site);
  twin::StoreToGm<T>(in, dst.ref(), src.ref(), twin::PadBursts(in, dataCopyParams, sizeof(T), false, 0));
}

inline DataCopyExtParams Extend(const DataCopyParams& p) {
  return {p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0};
}
template <class T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& dataCopyParams,
                 const DataCopyPadParams& padParams, TWIN_SITE) {
  DataCopyPadExtParams<T> pad;
  pad.isPad = padParams.isPad;
  pad.leftPadding = padParams.leftPadding;
  pad.rightPadding = padParams.rightPadding;
  std::memcpy(&pad.paddingValue, &padParams.paddingValue, sizeof(T));
  DataCopyPad(dst, src, Extend(dataCopyParams), pad, site);
}
template <class T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& dataCopyParams,
                 TWIN_SITE) {
  DataCopyPad(dst, src, Extend(dataCopyParams), site);
}

}  // namespace AscendC
