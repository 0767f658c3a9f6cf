// SPDX-License-Identifier: Apache-2.0
#include "scratch_memory.h"

#include <cstdlib>

namespace ms_nsa {

OutOfMemory::~OutOfMemory() = default;

void* AllocateScratch(size_t bytes) {
  constexpr size_t kAlignment = 64;
  const size_t whole = (bytes / kAlignment + 1) * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, whole);
  if (memory == nullptr) throw OutOfMemory(whole);
  return memory;
}

}  // namespace ms_nsa
