// SPDX-License-Identifier: Apache-2.0
#include "shadow.h"

namespace twin {

namespace {
uint32_t MaskOf(uint32_t first, uint64_t count) {
  return count >= 32 ? ~0u << first : ((1u << count) - 1u) << first;
}
}  // namespace

uint64_t InitBits::FirstClear(uint64_t begin, uint64_t bytes) const {
  uint64_t at = begin;
  const uint64_t end = begin + bytes;
  while (at < end) {
    const uint32_t first = at % 32;
    const uint64_t take = end - at < 32u - first ? end - at : 32u - first;
    const uint32_t missing = ~words_[at / 32] & MaskOf(first, take);
    if (missing) return (at - first + static_cast<uint32_t>(__builtin_ctz(missing))) - begin;
    at += take;
  }
  return bytes;
}

void InitBits::Set(uint64_t begin, uint64_t bytes, bool value) {
  uint64_t at = begin;
  const uint64_t end = begin + bytes;
  while (at < end) {
    const uint32_t first = at % 32;
    const uint64_t take = end - at < 32u - first ? end - at : 32u - first;
    const uint32_t mask = MaskOf(first, take);
    uint32_t& word = words_[at / 32];
    word = value ? word | mask : word & ~mask;
    at += take;
  }
}

void InitBits::Copy(uint64_t begin, const InitBits& from, uint64_t from_begin, uint64_t bytes) {
  uint64_t done = 0;
  while (done < bytes) {
    const uint64_t to_at = begin + done, from_at = from_begin + done;
    const uint32_t to_first = to_at % 32, from_first = from_at % 32;
    uint64_t take = 32u - (to_first > from_first ? to_first : from_first);
    if (bytes - done < take) take = bytes - done;
    const uint32_t bits = from.words_[from_at / 32] >> from_first;
    const uint32_t mask = MaskOf(to_first, take);
    uint32_t& word = words_[to_at / 32];
    word = (word & ~mask) | (bits << to_first & mask);
    done += take;
  }
}

}  // namespace twin
