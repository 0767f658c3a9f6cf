// SPDX-License-Identifier: Apache-2.0
// Shadow of one on-chip memory: who last wrote and read each byte, and which bytes are initialised.
// One cell per 32-byte granule; a granule that is accessed in part is split into one cell per byte.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "twin/abi.h"

namespace twin {

constexpr uint32_t kGranule = 32;

struct LocalCell {
  uint32_t write_seq = 0;
  Pipe write_pipe = Pipe::kS;
  bool split = false;
  std::array<uint32_t, kPipes> read_seq{};
};

class LocalShadow {
 public:
  explicit LocalShadow(uint32_t bytes) : cells_(bytes / kGranule) {}

  // Calls visit(cell, byte address, length) for every cell under [addr, addr + bytes).
  template <class Visit>
  void ForEach(uint64_t addr, uint64_t bytes, bool overwrites, Visit visit);

 private:
  using Bytes = std::array<LocalCell, kGranule>;
  Bytes& Split(uint32_t granule);

  std::vector<LocalCell> cells_;
  std::unordered_map<uint32_t, std::unique_ptr<Bytes>> split_;
};

// Bit per byte: initialised or not.
class InitBits {
 public:
  explicit InitBits(uint64_t bytes, bool value = false) : words_((bytes + 31) / 32, value ? ~0u : 0u) {}
  bool All(uint64_t begin, uint64_t bytes) const { return FirstClear(begin, bytes) == bytes; }
  // Offset from begin of the first clear bit, or bytes.
  uint64_t FirstClear(uint64_t begin, uint64_t bytes) const;
  void Set(uint64_t begin, uint64_t bytes, bool value);
  void Copy(uint64_t begin, const InitBits& from, uint64_t from_begin, uint64_t bytes);

 private:
  std::vector<uint32_t> words_;
};

template <class Visit>
void LocalShadow::ForEach(uint64_t addr, uint64_t bytes, bool overwrites, Visit visit) {
  uint64_t at = addr;
  const uint64_t end = addr + bytes;
  while (at < end) {
    const uint32_t granule = static_cast<uint32_t>(at / kGranule);
    const uint64_t granule_end = (uint64_t{granule} + 1) * kGranule;
    const uint64_t stop = end < granule_end ? end : granule_end;
    const bool whole = stop - at == kGranule;
    LocalCell& cell = cells_[granule];
    if (whole && !cell.split) {
      visit(cell, at, kGranule);
    } else {
      Bytes& cells = Split(granule);
      for (uint64_t b = at; b < stop; ++b) visit(cells[b % kGranule], b, 1u);
      if (whole && overwrites) {
        cell = cells[0];
        cell.split = false;
        split_.erase(granule);
      }
    }
    at = stop;
  }
}

}  // namespace twin
