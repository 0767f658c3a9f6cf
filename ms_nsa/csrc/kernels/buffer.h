// SPDX-License-Identifier: Apache-2.0
// Aligned heap memory. Not std::vector: its members are shared between translation units, and the linker
// could keep the copy compiled with another unit's instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../runtime/scratch_memory.h"

namespace ms_nsa {
namespace {

constexpr size_t kAlignment = 64;

constexpr int64_t CeilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t RoundUp(int64_t a, int64_t b) {
  return CeilDiv(a, b) * b;
}
constexpr int64_t Min(int64_t a, int64_t b) {
  return a < b ? a : b;
}
constexpr int64_t Max(int64_t a, int64_t b) {
  return a > b ? a : b;
}

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) { data_ = static_cast<T*>(AllocateScratch(count * sizeof(T))); }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  T* data_;
};

// Hands out aligned pieces of one allocation. A first run without memory computes the size.
class Arena {
 public:
  explicit Arena(char* base = nullptr) : base_(base) {}

  template <class T>
  T* Take(int64_t count) {
    T* piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += RoundUp(count * static_cast<int64_t>(sizeof(T)), kAlignment);
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace
}  // namespace ms_nsa
