// SPDX-License-Identifier: Apache-2.0
#include "gm.h"

#include <sys/mman.h>

#include <cstring>
#include <stdexcept>
#include <utility>

namespace twin {

namespace {
constexpr uint64_t kPage = 4096;
// Device allocations start on 512 bytes; a guard on both sides keeps a wrong address from hitting a
// neighbour.
constexpr uint64_t kGuard = 16 * kPage;
uint64_t RoundUp(uint64_t v, uint64_t unit) {
  return (v + unit - 1) / unit * unit;
}
}  // namespace

GmAllocation::GmAllocation(std::string name, uint64_t bytes, uint64_t reserved_front, uint32_t misalign,
                           bool initialised)
    : name_(std::move(name)),
      bytes_(bytes),
      reserved_(reserved_front),
      map_bytes_(RoundUp(bytes + reserved_front + misalign, kPage) + 2 * kGuard),
      map_(nullptr),
      begin_(nullptr),
      init_(bytes, initialised),
      cells_(bytes) {
  void* map = mmap(nullptr, map_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED)
    throw std::runtime_error("twin: cannot map " + std::to_string(map_bytes_) + " bytes of GM");
  map_ = static_cast<uint8_t*>(map);
  begin_ = map_ + kGuard + reserved_front + misalign;
  uint8_t* page = map_ + (begin_ - map_) / kPage * kPage;
  const uint64_t usable = RoundUp(static_cast<uint64_t>(begin_ + bytes - page), kPage);
  if (bytes && mprotect(page, usable, PROT_READ | PROT_WRITE) != 0)
    throw std::runtime_error("twin: mprotect failed");
  if (bytes && !initialised) std::memset(begin_, 0xff, bytes);
}

GmAllocation::~GmAllocation() {
  munmap(map_, map_bytes_);
}

// Each byte gets an overflow list of its own, and the cell gives its up.
void GmAllocation::CopyTo(Granules<GmCell>::Bytes& parts, GmCell& cell) {
  parts.fill(cell);
  for (GmCell& part : parts) {
    if (cell.more < 0) break;
    part.more = -1;
    const std::vector<Epoch> copy = overflow_[cell.more];
    Overflow(part) = copy;
  }
  DropOverflow(cell);
}

std::vector<Epoch>& GmAllocation::Overflow(GmCell& cell) {
  if (cell.more < 0) {
    if (free_overflow_.empty()) {
      overflow_.emplace_back();
      cell.more = static_cast<int32_t>(overflow_.size()) - 1;
    } else {
      cell.more = free_overflow_.back();
      free_overflow_.pop_back();
      overflow_[cell.more].clear();
    }
  }
  return overflow_[cell.more];
}

void GmAllocation::DropOverflow(GmCell& cell) {
  if (cell.more < 0) return;
  overflow_[cell.more].clear();
  free_overflow_.push_back(cell.more);
  cell.more = -1;
}

GmAllocation& GlobalMemory::Add(std::string name, uint64_t bytes, uint64_t reserved_front, uint32_t misalign,
                                bool initialised) {
  allocations_.push_back(
      std::make_unique<GmAllocation>(std::move(name), bytes, reserved_front, misalign, initialised));
  return *allocations_.back();
}

GmAllocation* GlobalMemory::Find(const uint8_t* p) {
  if (last_ && last_->Contains(p)) return last_;
  for (auto& a : allocations_) {
    if (a->Contains(p)) return last_ = a.get();
  }
  return nullptr;
}

}  // namespace twin
