// SPDX-License-Identifier: Apache-2.0
// Shadow of a memory: who last wrote and read each byte, and which bytes are initialised.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "twin/abi.h"

namespace twin {

constexpr uint32_t kGranule = 32;

// One cell per 32-byte granule of a memory; a granule that is accessed in part is split into one cell per
// byte.
template <class Cell>
class Granules {
 public:
  using Bytes = std::array<Cell, kGranule>;

  explicit Granules(uint64_t bytes) : bytes_(bytes), cells_((bytes + kGranule - 1) / kGranule) {}

  // Calls visit(cell, byte address, length) for every cell under [addr, addr + bytes); fill(bytes, cell)
  // gives the bytes of a granule that is split the state of its cell.
  template <class Fill, class Visit>
  void ForEach(uint64_t addr, uint64_t bytes, bool overwrites, Fill fill, Visit visit) {
    const uint64_t end = addr + bytes;
    for (uint64_t at = addr, stop = 0; at < end; at = stop) {
      const uint64_t granule = at / kGranule;
      stop = std::min(end, (granule + 1) * kGranule);
      const bool whole = at % kGranule == 0 && (stop - at == kGranule || stop == bytes_);
      Cell& cell = cells_[granule];
      if (whole && !cell.split) {
        visit(cell, at, static_cast<uint32_t>(stop - at));
        continue;
      }
      Bytes& parts = Split(granule, fill);
      for (uint64_t b = at; b < stop; ++b) visit(parts[b % kGranule], b, 1u);
      if (whole && overwrites) {
        cell = parts[0];
        cell.split = false;
        split_.erase(granule);
      }
    }
  }

 private:
  template <class Fill>
  Bytes& Split(uint64_t granule, Fill fill) {
    Cell& cell = cells_[granule];
    if (!cell.split) {
      auto parts = std::make_unique<Bytes>();
      fill(*parts, cell);
      split_[granule] = std::move(parts);
      cell.split = true;
    }
    return *split_[granule];
  }

  uint64_t bytes_;
  std::vector<Cell> cells_;
  std::unordered_map<uint64_t, std::unique_ptr<Bytes>> split_;
};

struct LocalCell {
  uint32_t write_seq = 0;
  Pipe write_pipe = Pipe::kS;
  bool split = false;
  std::array<uint32_t, kPipes> read_seq{};
};

class LocalShadow {
 public:
  explicit LocalShadow(uint32_t bytes) : cells_(bytes) {}

  // Calls visit(cell, byte address, length) for every cell under [addr, addr + bytes).
  template <class Visit>
  void ForEach(uint64_t addr, uint64_t bytes, bool overwrites, Visit visit) {
    const auto fill = [](Granules<LocalCell>::Bytes& parts, const LocalCell& cell) { parts.fill(cell); };
    cells_.ForEach(addr, bytes, overwrites, fill, visit);
  }

 private:
  Granules<LocalCell> cells_;
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

}  // namespace twin
