// SPDX-License-Identifier: Apache-2.0
// Data movement: bytes and their initialised state together.
#include <cstring>

#include "machine.h"

namespace twin {

uint8_t* Instr::Data(const LocalRef& t, uint64_t offset) const {
  return core_->Memory(t.mem).data.data() + t.addr + offset;
}

void Instr::Move(const LocalRef& dst, uint64_t dst_offset, const LocalRef& src, uint64_t src_offset,
                 uint32_t bytes) {
  std::memmove(Data(dst, dst_offset), Data(src, src_offset), bytes);
  if (!checking_) return;
  core_->Memory(dst.mem).init.Copy(dst.addr + dst_offset, core_->Memory(src.mem).init, src.addr + src_offset,
                                   bytes);
}

void Instr::Move(const LocalRef& dst, uint64_t dst_offset, const GlobalRef& src, uint64_t src_offset,
                 uint32_t bytes) {
  const uint8_t* from = src.addr + src_offset;
  std::memcpy(Data(dst, dst_offset), from, bytes);
  if (!checking_ || bytes == 0) return;
  GmAllocation* gm = core_->machine.gm().Find(from);
  core_->Memory(dst.mem).init.Copy(dst.addr + dst_offset, gm->init(),
                                   static_cast<uint64_t>(from - gm->begin()), bytes);
}

void Instr::Move(const GlobalRef& dst, uint64_t dst_offset, const LocalRef& src, uint64_t src_offset,
                 uint32_t bytes) {
  uint8_t* to = dst.addr + dst_offset;
  std::memcpy(to, Data(src, src_offset), bytes);
  if (!checking_ || bytes == 0) return;
  GmAllocation* gm = core_->machine.gm().Find(to);
  gm->init().Copy(static_cast<uint64_t>(to - gm->begin()), core_->Memory(src.mem).init, src.addr + src_offset,
                  bytes);
}

void Instr::MoveTransposed(const LocalRef& dst, uint64_t dst_offset, uint32_t dst_stride, const LocalRef& src,
                           uint64_t src_offset, uint32_t src_stride, uint32_t n, uint32_t size) {
  uint8_t* to = Data(dst, dst_offset);
  const uint8_t* from = Data(src, src_offset);
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t j = 0; j < n; ++j)
      std::memcpy(to + i * dst_stride + j * size, from + j * src_stride + i * size, size);
  }
  if (!checking_) return;
  InitBits& target = core_->Memory(dst.mem).init;
  const InitBits& source = core_->Memory(src.mem).init;
  const uint64_t to_at = dst.addr + dst_offset, from_at = src.addr + src_offset;
  bool all = true;
  for (uint32_t j = 0; j < n && all; ++j) all = source.All(from_at + j * src_stride, n * size);
  for (uint32_t i = 0; i < n; ++i) {
    if (all) {
      target.Set(to_at + i * dst_stride, n * size, true);
      continue;
    }
    for (uint32_t j = 0; j < n; ++j) {
      target.Copy(to_at + i * dst_stride + j * size, source, from_at + j * src_stride + i * size, size);
    }
  }
}

void Instr::MarkWritten(const LocalRef& t, uint64_t offset, uint64_t bytes) {
  if (checking_) core_->Memory(t.mem).init.Set(t.addr + offset, bytes, true);
}

void Instr::MarkUnwritten(const LocalRef& t, uint64_t offset, uint64_t bytes) {
  if (checking_) core_->Memory(t.mem).init.Set(t.addr + offset, bytes, false);
}

}  // namespace twin
