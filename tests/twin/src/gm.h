// SPDX-License-Identifier: Apache-2.0
// Global memory of a launch: guarded copies of the host tensors, with who accessed each byte from which core.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
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
  void ForEach(uint64_t offset, uint64_t bytes, bool overwrites, Visit visit) {
    const auto fill = [this](Granules<GmCell>::Bytes& parts, GmCell& cell) { CopyTo(parts, cell); };
    cells_.ForEach(offset, bytes, overwrites, fill, visit);
  }
  std::vector<Epoch>& Overflow(GmCell& cell);
  void DropOverflow(GmCell& cell);

 private:
  void CopyTo(Granules<GmCell>::Bytes& parts, GmCell& cell);

  std::string name_;
  uint64_t bytes_, reserved_, map_bytes_;
  uint8_t* map_;
  uint8_t* begin_;
  InitBits init_;
  Granules<GmCell> cells_;
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

}  // namespace twin
