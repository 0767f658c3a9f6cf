// SPDX-License-Identifier: Apache-2.0
// The C interface (twin/launch.h): load a kernel's two halves, run one launch, hand back reports, trace and
// outputs.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "machine.h"
#include "timing.h"
#include "twin/launch.h"

struct TwinResult {
  std::string reports, timing, trace, error;
};

const char* twin_reports(const TwinResult* result) {
  return result->reports.c_str();
}
const char* twin_timing(const TwinResult* result) {
  return result->timing.c_str();
}
const char* twin_trace(const TwinResult* result) {
  return result->trace.c_str();
}
const char* twin_error(const TwinResult* result) {
  return result->error.c_str();
}
void twin_free(TwinResult* result) {
  delete result;
}

namespace twin {
namespace {

constexpr size_t kMaxArguments = 24;
using Pointers = std::array<uint8_t*, kMaxArguments>;
using Symbol = void*;

template <size_t... I>
void CallWith(Symbol entry, const Pointers& p, std::index_sequence<I...>) {
  using Entry = void (*)(decltype(static_cast<void>(I), static_cast<uint8_t*>(nullptr))...);
  reinterpret_cast<Entry>(entry)(p[I]...);
}

template <size_t N>
void Call(Symbol entry, const Pointers& p, size_t count) {
  if (count == N) {
    CallWith(entry, p, std::make_index_sequence<N>());
  } else if constexpr (N > 0) {
    Call<N - 1>(entry, p, count);
  }
}

Symbol LoadEntry(const char* path, const char* entry) {
  if (!path) return nullptr;
  void* object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!object) throw std::runtime_error(std::string("twin: cannot load kernel: ") + dlerror());
  Symbol symbol = dlsym(object, entry);
  if (!symbol) throw std::runtime_error(std::string("twin: no entry ") + entry + " in " + path);
  return symbol;
}

Options OptionsOf(const TwinLaunch& l) {
  Options o;
  o.task_type = static_cast<TaskType>(l.task_type);
  o.block_dim = l.block_dim;
  o.aic_cores = l.aic_cores;
  o.seed = l.seed;
  o.preempt = l.preempt;
  o.checks = l.checks != 0;
  o.trace = l.timing != 0;
  o.report_limit = l.report_limit;
  o.tiling_key = l.tiling_key;
  o.reserved_workspace = l.reserved_workspace;
  o.kernel = l.entry;
  return o;
}

// What must be back in its initial state when a core reaches the end of the kernel.
void CheckEnd(Core& core) {
  for (int src = 0; src < kPipes; ++src) {
    for (int dst = 0; dst < kPipes; ++dst) {
      for (int id = 0; id < kEventIds; ++id) {
        const Event& e = core.events[src][dst][id];
        if (!e.set) continue;
        core.Fail(Rule::kFlag, "SetFlag", static_cast<Pipe>(src), e.setter.site,
                  std::string("SetFlag: ") + PipeName(static_cast<Pipe>(src)) + "_" +
                      PipeName(static_cast<Pipe>(dst)) + " id " + std::to_string(id) +
                      " is left set at the end of the kernel");
      }
    }
  }
  if (core.atomic)
    core.Fail(Rule::kAtomic, "SetAtomicAdd", Pipe::kS, core.atomic_site,
              "SetAtomicAdd: atomic mode is left on at the end of the kernel");
  if (core.mask.counter)
    core.Fail(Rule::kMask, "SetMaskCount", Pipe::kS, core.mask_site,
              "SetMaskCount: the core is left in counter mode at the end of the kernel");
  if (std::any_of(core.unit_flags.begin(), core.unit_flags.end(), [](uint8_t f) { return f != 0; })) {
    core.Fail(Rule::kUnitFlag, "Mmad", Pipe::kM, core.unit_flag_site,
              "Mmad: a tile finished under the unit flag is never read by Fixpipe with unitFlag 3");
  }
  for (const auto& entry : core.cache) {
    if (!entry.second.dirty) continue;
    core.Fail(Rule::kDirtyLine, "SetValue", Pipe::kS, entry.second.site,
              "SetValue: the GM write stays in the data cache at the end of the kernel: "
              "DataCacheCleanAndInvalid is missing");
  }
}

void RunCore(Machine& machine, Core& core, Symbol entry, const Pointers& pointers, size_t count) {
  SetCurrent(&core);
  bool completed = false;
  try {
    if (entry) Call<kMaxArguments>(entry, pointers, count);
    completed = true;
  } catch (const Abort&) {
  } catch (const std::exception& e) {
    core.Fail(Rule::kUnsupported, "kernel", Pipe::kS, {},
              std::string("exception in the kernel: ") + e.what());
  }
  if (completed && machine.options().checks) CheckEnd(core);
  SetCurrent(nullptr);
}

void Run(Machine& machine, Symbol cube, Symbol vector, const Pointers& pointers, size_t count) {
  auto& cores = machine.cores();
  const bool finished = machine.scheduler().Run(
      [&](int c) { RunCore(machine, *cores[c], cores[c]->cube ? cube : vector, pointers, count); });
  if (finished) {
    if (machine.reports().empty()) machine.CheckFlagsAtEnd();
    return;
  }
  std::string all;
  for (const auto& b : machine.scheduler().blocked()) {
    all += (all.empty() ? "" : "; ") + cores[b.first]->Name() + " waits for " + b.second;
  }
  const int first = machine.scheduler().blocked().front().first;
  cores[first]->Fail(Rule::kDeadlock, "CrossCoreWaitFlag", Pipe::kS, cores[first]->wait_site,
                     "deadlock: " + all);
}

struct Bound {
  GmAllocation* gm;
  const TwinArgument* argument;
};

std::vector<Bound> Bind(Machine& machine, const TwinLaunch& launch, Pointers& pointers) {
  std::vector<Bound> bound;
  if (launch.argument_count > kMaxArguments)
    throw std::runtime_error("twin: a kernel takes at most 24 arguments");
  for (uint32_t i = 0; i < launch.argument_count; ++i) {
    const TwinArgument& a = launch.arguments[i];
    pointers[i] = nullptr;
    if (!a.data && a.kind != 3) continue;
    const bool filled = a.kind == 0 || a.kind == 2;
    const uint64_t reserved = a.kind == 3 ? launch.reserved_workspace : 0;
    GmAllocation& gm = machine.gm().Add(a.name, a.bytes, reserved, a.misalign, filled);
    if (filled && a.bytes) std::memcpy(gm.begin(), a.data, a.bytes);
    pointers[i] = gm.argument();
    bound.push_back({&gm, &a});
  }
  return bound;
}

void Launch(const TwinLaunch& launch, TwinResult& result) {
  Machine machine(OptionsOf(launch));
  Pointers pointers{};
  const std::vector<Bound> bound = Bind(machine, launch, pointers);
  Symbol cube = LoadEntry(machine.HasAic() ? launch.cube_object : nullptr, launch.entry);
  Symbol vector = LoadEntry(machine.AivPerBlock() ? launch.vector_object : nullptr, launch.entry);
  Run(machine, cube, vector, pointers, launch.argument_count);
  result.reports = machine.reports().Json(launch.entry);
  for (const Bound& b : bound) {
    if (b.argument->data && b.argument->kind != 0 && b.argument->bytes) {
      std::memcpy(b.argument->data, b.gm->begin(), b.argument->bytes);
    }
  }
  if (launch.timing) {
    TimingTable table;
    SetFigures(table, launch.figures ? launch.figures : "");
    const Timeline timeline = Simulate(machine, table);
    result.timing = TimingJson(machine, timeline);
    if (launch.trace_events) result.trace = ChromeTrace(machine, timeline);
  }
}

}  // namespace
}  // namespace twin

TwinResult* twin_launch(const TwinLaunch* launch) {
  TwinResult* result = new TwinResult;
  try {
    twin::Launch(*launch, *result);
  } catch (const std::exception& e) {
    result->error = e.what();
  }
  return result;
}
