// SPDX-License-Identifier: Apache-2.0
// LocalTensor and GlobalTensor.
#pragma once

#include <cstring>

#include "twin/enums.h"
#include "twin/half.h"
#include "twin/macros.h"

namespace AscendC {

template <class T>
using PrimT = T;

template <class T>
class LocalTensor {
 public:
  using PrimType = T;
  LocalTensor() = default;
  explicit LocalTensor(const twin::LocalRef& ref) : ref_(ref) {}
  LocalTensor(TPosition pos, uint32_t addr, uint32_t tileSize, TWIN_SITE)
      : ref_(twin::RawRef(static_cast<int>(pos), MemOf(pos), addr, tileSize * sizeof(T), site)) {}

  uint64_t GetPhyAddr(uint32_t offset = 0) const { return ref_.addr + uint64_t{offset} * sizeof(T); }
  uint32_t GetSize() const { return ref_.bytes / sizeof(T); }
  void SetSize(uint32_t size) { ref_.bytes = size * sizeof(T); }
  int32_t GetPosition() const { return ref_.position; }

  LocalTensor operator[](uint32_t offset) const {
    LocalTensor t = *this;
    const uint64_t bytes = uint64_t{offset} * sizeof(T);
    t.ref_.addr += static_cast<uint32_t>(bytes);
    t.ref_.bytes = bytes < ref_.bytes ? ref_.bytes - static_cast<uint32_t>(bytes) : 0;
    return t;
  }

  template <class U>
  LocalTensor<U> ReinterpretCast() const {
    return LocalTensor<U>(ref_);
  }

  T GetValue(uint32_t index, TWIN_SITE) const {
    twin::Instr in("GetValue", twin::Pipe::kS, site);
    in.In(ref_, "tensor", twin::MemBit(twin::Mem::kUb), 1);
    in.Touch(twin::Access::kRead, ref_, "tensor", uint64_t{index} * sizeof(T), sizeof(T));
    T value{};
    if (in.Issue({twin::Path::kScalar}))
      std::memcpy(&value, in.Data(ref_, uint64_t{index} * sizeof(T)), sizeof(T));
    return value;
  }

  template <class S>
  void SetValue(uint32_t index, const S value, TWIN_SITE) const {
    twin::Instr in("SetValue", twin::Pipe::kS, site);
    in.In(ref_, "tensor", twin::MemBit(twin::Mem::kUb), 1);
    in.Touch(twin::Access::kWrite, ref_, "tensor", uint64_t{index} * sizeof(T), sizeof(T));
    const T stored = static_cast<T>(value);
    if (in.Issue({twin::Path::kScalar}))
      std::memcpy(in.Data(ref_, uint64_t{index} * sizeof(T)), &stored, sizeof(T));
  }

  const twin::LocalRef& ref() const { return ref_; }

 private:
  twin::LocalRef ref_;
};

template <class T>
class GlobalTensor {
 public:
  using PrimType = T;
  void SetGlobalBuffer(__gm__ T* buffer) { ref_ = {reinterpret_cast<uint8_t*>(buffer), ~uint64_t{0}, false}; }
  void SetGlobalBuffer(__gm__ T* buffer, uint64_t bufferSize) {
    ref_ = {reinterpret_cast<uint8_t*>(buffer), bufferSize * sizeof(T), false};
  }

  const __gm__ T* GetPhyAddr() const { return reinterpret_cast<T*>(ref_.addr); }
  __gm__ T* GetPhyAddr(uint64_t offset) const {
    return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(ref_.addr) + offset * sizeof(T));
  }
  uint64_t GetSize() const { return ref_.limit == ~uint64_t{0} ? 0 : ref_.limit / sizeof(T); }

  GlobalTensor operator[](uint64_t offset) const {
    GlobalTensor t = *this;
    const uint64_t bytes = offset * sizeof(T);
    t.ref_.addr = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(ref_.addr) + bytes);
    if (ref_.limit != ~uint64_t{0}) t.ref_.limit = bytes < ref_.limit ? ref_.limit - bytes : 0;
    return t;
  }

  T GetValue(uint64_t offset, TWIN_SITE) const {
    T value{};
    twin::GmLoad(ref_, offset * sizeof(T), &value, sizeof(T), site);
    return value;
  }
  void SetValue(uint64_t offset, T value, TWIN_SITE) {
    twin::GmStore(ref_, offset * sizeof(T), &value, sizeof(T), site);
  }
  T operator()(uint64_t offset) const { return GetValue(offset); }

  template <CacheRwMode rwMode = CacheRwMode::RW>
  void SetL2CacheHint(CacheMode mode) {
    ref_.l2_bypass = mode == CacheMode::CACHE_MODE_DISABLE;
  }

  const twin::GlobalRef& ref() const { return ref_; }

 private:
  twin::GlobalRef ref_;
};

}  // namespace AscendC
