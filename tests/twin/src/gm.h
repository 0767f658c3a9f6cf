// SPDX-License-Identifier: Apache-2.0
// Global memory of a launch: guarded copies of the host tensors, with who accessed each byte from which core.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shadow.h"
#include "twin/abi.h"

namespace twin {

// One access by a pipe of a core. seq 0: none (before the launch).
struct Epoch {
  uint32_t seq = 0;
  uint16_t core = 0;
  Pipe pipe = Pipe::kS;
  Access kind = Access::kRead;
};

struct GmCell {
  Epoch write;
  std::array<Epoch, 2> others;  // readers and atomic writers since that write
  int32_t more = -1;            // index of the overflow list
  bool split = false;
};

class GmAllocation {
 public:
  GmAllocation(std::string name, uint64_t bytes, uint64_t reserved_front, uint32_t misalign,
               bool initialised);
  ~GmAllocation();
  GmAllocation(const GmAllocation&) = delete;
  GmAllocation& operator=(const GmAllocation&) = delete;

  bool Contains(const uint8_t* p) const { return p >= map_ && p < map_ + map_bytes_; }
  uint8_t* begin() const { return begin_; }
  uint8_t* argument() const { return begin_ - reserved_; }
  uint64_t bytes() const { return bytes_; }
  const std::string& name() const { return name_; }
  InitBits& init() { return init_; }

  template <class Visit>
  void ForEach(uint64_t offset, uint64_t bytes, bool overwrites, Visit visit);
  std::vector<Epoch>& Overflow(GmCell& cell);
  void DropOverflow(GmCell& cell);

 private:
  using Bytes = std::array<GmCell, kGranule>;
  Bytes& Split(uint64_t granule);

  std::string name_;
  uint64_t bytes_, reserved_, map_bytes_;
  uint8_t* map_;
  uint8_t* begin_;
  InitBits init_;
  std::vector<GmCell> cells_;
  std::unordered_map<uint64_t, std::unique_ptr<Bytes>> split_;
  std::vector<std::vector<Epoch>> overflow_;
  std::vector<int32_t> free_overflow_;
};

class GlobalMemory {
 public:
  GmAllocation& Add(std::string name, uint64_t bytes, uint64_t reserved_front, uint32_t misalign,
                    bool initialised);
  GmAllocation* Find(const uint8_t* p);

 private:
  std::vector<std::unique_ptr<GmAllocation>> allocations_;
  GmAllocation* last_ = nullptr;
};

template <class Visit>
void GmAllocation::ForEach(uint64_t offset, uint64_t bytes, bool overwrites, Visit visit) {
  uint64_t at = offset;
  const uint64_t end = offset + bytes;
  while (at < end) {
    const uint64_t granule = at / kGranule;
    const uint64_t granule_end = (granule + 1) * kGranule;
    const uint64_t stop = end < granule_end ? end : granule_end;
    GmCell& cell = cells_[granule];
    const bool whole = stop - at == kGranule || (at % kGranule == 0 && stop == bytes_);
    if (whole && !cell.split) {
      visit(cell, at, static_cast<uint32_t>(stop - at));
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
