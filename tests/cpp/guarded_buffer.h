// SPDX-License-Identifier: Apache-2.0
// Memory that ends, or begins, at a page no one may touch: reading or writing one byte beyond it faults.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace ms_nsa {

enum class Placement { kAtEnd, kAtStart };

class GuardedBuffer {
 public:
  GuardedBuffer(size_t bytes, Placement placement) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    base_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    inner_ = base_ + page;
    inner_bytes_ = inner;
    if (inner > 0) Protect(PROT_READ | PROT_WRITE);
    data_ = placement == Placement::kAtStart ? inner_ : inner_ + inner - bytes;
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept { *this = static_cast<GuardedBuffer&&>(other); }
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept {
    std::memcpy(static_cast<void*>(this), &other, sizeof *this);
    other.mapped_ = 0;
    return *this;
  }
  ~GuardedBuffer() {
    if (mapped_ > 0) munmap(base_, mapped_);
  }

  void MakeReadOnly() {
    if (inner_bytes_ > 0) Protect(PROT_READ);
  }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void Protect(int protection) {
    if (mprotect(inner_, inner_bytes_, protection) != 0) throw std::runtime_error("mprotect failed");
  }

  char* base_;
  char* inner_;
  void* data_;
  size_t bytes_, mapped_, inner_bytes_;
};

}  // namespace ms_nsa
