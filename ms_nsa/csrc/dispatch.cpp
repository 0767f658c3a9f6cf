// SPDX-License-Identifier: Apache-2.0
#include "dispatch.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace ms_nsa {
namespace {

[[maybe_unused]] constexpr bool Has(uint64_t word, std::initializer_list<int> bits) {
  for (const int bit : bits) {
    if (((word >> bit) & 1) == 0) return false;
  }
  return true;
}

#if defined(__x86_64__)

struct CpuidLeaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

  explicit CpuidLeaf(uint32_t leaf, uint32_t subleaf = 0) {
    __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx);
  }
};

// Register states that the operating system saves: bit 1 SSE, 2 AVX, 5-7 AVX-512.
uint32_t EnabledStates() {
  constexpr int kOsxsave = 27;
  if (!Has(CpuidLeaf(1).ecx, {kOsxsave})) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

[[maybe_unused]] bool IsIntel() {
  const CpuidLeaf vendor(0);
  return vendor.ebx == signature_INTEL_ebx && vendor.ecx == signature_INTEL_ecx;
}

// Linux gives a process the tile registers (register states 17 and 18) when it asks for them.
[[maybe_unused]] bool GetTileRegisters() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, which older headers do not know
  return Has(EnabledStates(), {17, kTileData}) && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

void AddSupported(std::vector<const KernelTable*>& tables) {
  const uint32_t states = EnabledStates();
  const CpuidLeaf basic(1), extended(7), more(7, 1);
  constexpr int kFma = 12, kAvx = 28, kF16c = 29, kAvx2 = 5;
  if (!Has(states, {1, 2}) || !Has(basic.ecx, {kFma, kAvx, kF16c}) || !Has(extended.ebx, {kAvx2})) return;
  tables.push_back(&kAvx2Kernels);
  constexpr int kF = 16, kDq = 17, kBw = 30, kVl = 31;
  [[maybe_unused]] constexpr int kBf16 = 5;
  if (!Has(states, {5, 6, 7}) || !Has(extended.ebx, {kF, kDq, kBw, kVl})) return;
#if defined(MS_NSA_WITH_AVX512)
  tables.push_back(&kAvx512Kernels);
#endif
#if defined(MS_NSA_WITH_AVX512BF16)
  // Intel's processors do four FMAs in the time of one VDPBF16PS, which is worth two (245 against 122 GFLOP/s
  // a core); bfloat16 forward and gradient take 0.67 of the time with FMAs.
  if (Has(more.eax, {kBf16})) tables.insert(tables.end() - (IsIntel() ? 1 : 0), &kAvx512Bf16Kernels);
#endif
#if defined(MS_NSA_WITH_AMXBF16)
  constexpr int kAmxBf16 = 22, kAmxTile = 24;
  if (Has(more.eax, {kBf16}) && Has(extended.edx, {kAmxBf16, kAmxTile}) && GetTileRegisters())
    tables.push_back(&kAmxBf16Kernels);
#endif
}

#elif defined(__aarch64__)

void AddSupported(std::vector<const KernelTable*>& tables) {
  tables.push_back(&kNeonKernels);
  // HWCAP_ASIMDFHM and HWCAP2_BF16, which older headers do not know.
  [[maybe_unused]] constexpr int kFp16Products = 23, kBf16 = 14;
#if defined(MS_NSA_WITH_NEONFP16)
  if (!Has(getauxval(AT_HWCAP), {kFp16Products})) return;
  tables.push_back(&kNeonFp16Kernels);
#endif
#if defined(MS_NSA_WITH_NEONBF16)
  if (Has(getauxval(AT_HWCAP2), {kBf16})) tables.push_back(&kNeonBf16Kernels);
#endif
}

#else

void AddSupported(std::vector<const KernelTable*>&) {}

#endif

std::vector<const KernelTable*> SupportedTables() {
  std::vector<const KernelTable*> tables{&kScalarKernels};
  AddSupported(tables);
  return tables;
}

const KernelTable& FindTable(const std::string& isa) {
  std::string names;
  for (const KernelTable* table : SupportedTables()) {
    if (isa == table->isa) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  throw std::runtime_error("ms_nsa: MS_NSA_ISA must be one of " + names + " on this machine, got " + isa);
}

std::atomic<const KernelTable*> current{nullptr};

}  // namespace

const KernelTable& Kernels() {
  const KernelTable* table = current.load(std::memory_order_acquire);
  if (table == nullptr) {
    const char* forced = std::getenv("MS_NSA_ISA");
    table = forced != nullptr && *forced != '\0' ? &FindTable(forced) : SupportedTables().back();
    current.store(table, std::memory_order_release);
  }
  return *table;
}

void SelectIsa(const std::string& isa) {
  current.store(&FindTable(isa), std::memory_order_release);
}

std::vector<std::string> SupportedIsas() {
  std::vector<std::string> names;
  for (const KernelTable* table : SupportedTables()) names.emplace_back(table->isa);
  return names;
}

}  // namespace ms_nsa
