// SPDX-License-Identifier: Apache-2.0
#include "core.h"

#include <algorithm>
#include <stdexcept>

#include "machine.h"

namespace twin {

namespace {
thread_local Core* current_core = nullptr;
}

Core& Current() {
  if (!current_core) throw std::logic_error("twin: Ascend C API called outside a launch");
  return *current_core;
}
Core* CurrentOrNull() {
  return current_core;
}
void SetCurrent(Core* core) {
  current_core = core;
}

Core::Core(Machine& m, int core_id, bool is_cube, int block_index, int sub_index, int cores)
    : machine(m),
      id(core_id),
      cube(is_cube),
      block(block_index),
      sub(sub_index),
      checking(m.options().checks),
      seen(static_cast<size_t>(cores) * kPipes) {
  if (cube) unit_flags.resize(kLocalBytes[int(Mem::kL0c)] / 512);
}

std::string Core::Name() const {
  return cube ? "AIC" + std::to_string(block) : "AIV" + std::to_string(block) + "." + std::to_string(sub);
}

bool Core::HasMemory(Mem mem) const {
  return mem == Mem::kGm || (mem == Mem::kUb) != cube;
}

bool Core::HasPipe(Pipe pipe) const {
  switch (pipe) {
    case Pipe::kV:
      return !cube;
    case Pipe::kM:
    case Pipe::kMte1:
    case Pipe::kFix:
      return cube;
    default:
      return true;
  }
}

LocalMemory& Core::Memory(Mem mem) {
  auto& slot = memories[static_cast<size_t>(mem)];
  if (!slot) slot = std::make_unique<LocalMemory>(kLocalBytes[static_cast<int>(mem)]);
  return *slot;
}

uint32_t Core::Capacity(Mem mem) const {
  const uint32_t bytes = kLocalBytes[static_cast<int>(mem)];
  return machine.mix() && (mem == Mem::kUb || mem == Mem::kL1) ? bytes - kMixReserved : bytes;
}

uint32_t Core::NextSeq(Pipe pipe, const char* api, Site site) {
  const int p = static_cast<int>(pipe);
  if (checking) log[p].push_back({api, site, instructions});
  ++instructions;
  return ++seq[p];
}

PipeClock Core::Completed(Pipe pipe) const {
  PipeClock c = clock[static_cast<int>(pipe)];
  c[static_cast<size_t>(pipe)] = seq[static_cast<int>(pipe)];
  return c;
}

void Core::Join(Pipe pipe, const PipeClock& other) {
  PipeClock& mine = clock[static_cast<int>(pipe)];
  for (int p = 0; p < kPipes; ++p) mine[p] = std::max(mine[p], other[p]);
}

std::vector<uint32_t> Core::Snapshot(Pipe pipe) const {
  std::vector<uint32_t> s = seen;
  const PipeClock own = Completed(pipe);
  std::copy(own.begin(), own.end(), s.begin() + static_cast<std::ptrdiff_t>(id) * kPipes);
  return s;
}

void Core::JoinAll(const std::vector<uint32_t>& snapshot) {
  for (size_t i = 0; i < seen.size(); ++i) seen[i] = std::max(seen[i], snapshot[i]);
  PipeClock own;
  std::copy_n(snapshot.begin() + static_cast<std::ptrdiff_t>(id) * kPipes, kPipes, own.begin());
  for (int p = 0; p < kPipes; ++p) Join(static_cast<Pipe>(p), own);
}

InstrId Core::Id(Pipe pipe, uint32_t n) const {
  const auto& entries = log[static_cast<int>(pipe)];
  if (n == 0 || n > entries.size()) return {Name(), pipe, 0, "", {}};
  const InstrInfo& info = entries[n - 1];
  return {Name(), pipe, info.index, info.api, info.site};
}

InstrId Core::Here(const char* api, Pipe pipe, Site site) const {
  return {Name(), pipe, instructions, api, site};
}

void Core::Fail(Rule rule, const char* api, Pipe pipe, Site site, std::string message) {
  Fail(rule, Here(api, pipe, site), std::move(message));
}

void Core::Fail(Rule rule, InstrId where, std::string message) {
  Report r;
  r.rule = rule;
  r.where = std::move(where);
  r.message = std::move(message);
  machine.reports().Add(std::move(r));
}

}  // namespace twin
