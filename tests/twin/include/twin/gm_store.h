// SPDX-License-Identifier: Apache-2.0
// Writes from on-chip memory to GM, plain or atomic, by MTE3 or FIX.
#pragma once

#include <cstring>

#include "twin/system.h"

namespace twin {

template <class T>
bool GmStoreKind(Instr& in, Access& kind) {
  const int state = AtomicState();
  kind = state ? Access::kAtomic : Access::kStore;
  if (!state) return true;
  return in.Require(state == static_cast<int>(AscendC::AtomicTypeOf<T>()), Rule::kAtomic,
                    "atomic mode was set for another type than the %s that is stored", TypeName<T>::value);
}

template <class T>
void AddBytes(uint8_t* dst, const uint8_t* src, uint32_t bytes) {
  for (uint32_t i = 0; i + sizeof(T) <= bytes; i += sizeof(T)) {
    T a, b;
    std::memcpy(&a, dst + i, sizeof(T));
    std::memcpy(&b, src + i, sizeof(T));
    const T sum = static_cast<T>(a + b);
    std::memcpy(dst + i, &sum, sizeof(T));
  }
}

template <class T>
void StoreBytes(Instr& in, Access kind, const GlobalRef& dst, uint64_t dst_offset, const LocalRef& src,
                uint64_t src_offset, uint32_t bytes) {
  if (kind == Access::kAtomic) {
    AddBytes<T>(dst.addr + dst_offset, in.Data(src, src_offset), bytes);
  } else {
    in.Move(dst, dst_offset, src, src_offset, bytes);
  }
}

}  // namespace twin
