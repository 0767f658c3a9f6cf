// SPDX-License-Identifier: Apache-2.0
#include "scratch_memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace ms_nsa {

OutOfMemory::~OutOfMemory() = default;

namespace {

// Large pages from this size on. The C library gives memory of this size back to the system when it is freed,
// and a call that gets it page by page of 4 KB pays for thousands of faults.
constexpr size_t kLargePage = size_t{2} << 20, kLargeScratch = size_t{8} << 20;

}  // namespace

void* AllocateScratch(size_t bytes) {
  constexpr size_t kAlignment = 64;
  const size_t alignment = bytes < kLargeScratch ? kAlignment : kLargePage;
  const size_t whole = (bytes / alignment + 1) * alignment;
  void* memory = std::aligned_alloc(alignment, whole);
  if (memory == nullptr) throw OutOfMemory(whole);
#ifdef MADV_HUGEPAGE
  if (alignment == kLargePage) madvise(memory, whole, MADV_HUGEPAGE);  // a wish: it may be refused
#endif
  return memory;
}

}  // namespace ms_nsa
