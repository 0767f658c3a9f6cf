// SPDX-License-Identifier: Apache-2.0
// Block indices, masks, atomics, cache control, workspace.
#pragma once

#include "twin/lanes.h"
#include "twin/tensor.h"

namespace AscendC {

inline int64_t GetBlockIdx() {
  return twin::BlockIndex();
}
inline int64_t GetBlockNum() {
  return twin::BlockCount();
}
inline int64_t GetSubBlockIdx() {
  return twin::SubBlockIndex();
}
inline int64_t GetTaskRatio() {
  return twin::TaskRatio();
}
inline int64_t GetTaskRation() {
  return twin::TaskRatio();
}
inline int64_t GetSystemCycle() {
  return twin::CycleCount();
}

inline GM_ADDR GetUserWorkspace(GM_ADDR workspace) {
  return workspace ? workspace + twin::ReservedWorkspace() : nullptr;
}
inline void SetSysWorkspace(GM_ADDR) {}

constexpr uint64_t MASK_PLACEHOLDER_LIST[2] = {0, 0};

inline void SetMaskCount(TWIN_SITE) {
  twin::SetCounterMode(true, site);
}
inline void SetMaskNorm(TWIN_SITE) {
  twin::SetCounterMode(false, site);
}
inline void ResetMask(TWIN_SITE) {
  twin::SetMask(~uint64_t{0}, ~uint64_t{0}, "ResetMask", site);
}
template <class T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(const uint64_t maskHigh, const uint64_t maskLow, TWIN_SITE) {
  twin::SetMask(maskLow, maskHigh, "SetVectorMask", site);
}
template <class T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(int32_t len, TWIN_SITE) {
  if (mode == MaskMode::COUNTER) {
    SetVectorMask<T, mode>(0, static_cast<uint64_t>(len), site);
    return;
  }
  const bool high = len > 64;
  SetVectorMask<T, mode>(high ? (len >= 128 ? ~uint64_t{0} : (uint64_t{1} << (len - 64)) - 1) : 0,
                         len >= 64 ? ~uint64_t{0} : (uint64_t{1} << len) - 1, site);
}

enum class AtomicType : int { kNone, kFloat, kHalf, kInt16, kInt32, kInt8, kBfloat16, kUnknown };

template <class T>
constexpr AtomicType AtomicTypeOf() {
  if (std::is_same<T, float>::value) return AtomicType::kFloat;
  if (std::is_same<T, half>::value) return AtomicType::kHalf;
  if (std::is_same<T, int16_t>::value) return AtomicType::kInt16;
  if (std::is_same<T, int32_t>::value) return AtomicType::kInt32;
  if (std::is_same<T, int8_t>::value) return AtomicType::kInt8;
  if (std::is_same<T, bfloat16_t>::value) return AtomicType::kBfloat16;
  return AtomicType::kUnknown;
}

template <class T>
void SetAtomicAdd(TWIN_SITE) {
  twin::SetAtomic(static_cast<int>(AtomicTypeOf<T>()), site);
}
template <class T>
void SetAtomicType(TWIN_SITE) {
  twin::SetAtomic(static_cast<int>(AtomicTypeOf<T>()), site);
}
inline void SetAtomicNone(TWIN_SITE) {
  twin::SetAtomic(0, site);
}
inline void DisableDmaAtomic(TWIN_SITE) {
  twin::SetAtomic(0, site);
}

template <class T, CacheLine entireType, DcciDst dcciDst>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, TWIN_SITE) {
  constexpr bool to_gm = dcciDst == DcciDst::CACHELINE_OUT || dcciDst == DcciDst::CACHELINE_ALL;
  twin::CleanCache(dst.ref(), 0, entireType == CacheLine::ENTIRE_DATA_CACHE, to_gm, site);
}
template <class T, CacheLine entireType>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, TWIN_SITE) {
  twin::CleanCache(dst.ref(), 0, entireType == CacheLine::ENTIRE_DATA_CACHE, true, site);
}

// Walk order of Mmad. It changes when tiles complete, not their values; the time model ignores it.
inline void SetMMRowMajor() {}
inline void SetMMColumnMajor() {}
inline void SetHF32Mode(bool) {}

}  // namespace AscendC
