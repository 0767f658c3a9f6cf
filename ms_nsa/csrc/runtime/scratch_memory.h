// SPDX-License-Identifier: Apache-2.0
// Scratch memory of the kernels, and the error if it cannot be allocated.
#pragma once

#include <cstddef>
#include <new>

namespace ms_nsa {

class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes) : bytes_(bytes) {}
  ~OutOfMemory() override;
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
};

// Aligned to cache lines. The caller frees it with std::free. Throws OutOfMemory.
void* AllocateScratch(size_t bytes);

}  // namespace ms_nsa
