// SPDX-License-Identifier: Apache-2.0
// Flags and barriers between cores.
#include <algorithm>
#include <memory>

#include "machine.h"

namespace twin {

namespace {

constexpr int kFlagIds = 16;
constexpr int kFlagMax = 15;  // the hardware counter has four bits

bool ReservedFlag(int id) {
  return id >= 11 && id <= 14;
}

uint64_t Complete(CrossFlag& flag) {
  uint64_t least = ~uint64_t{0};
  for (const int p : flag.producers) least = std::min<uint64_t>(least, flag.sets[p].size());
  return least;
}

void Record(Core& core, Op op, Pipe pipe, int mode, int id, Site site) {
  if (!core.machine.options().trace) return;
  TraceOp t;
  t.op = op;
  t.pipe = pipe;
  t.id = static_cast<uint8_t>(id);
  t.token = static_cast<uint64_t>(mode);
  t.site = site;
  core.trace.push_back(t);
}

bool CheckFlag(Core& core, const char* api, int id, Site site) {
  if (id < 0 || id >= kFlagIds || ReservedFlag(id)) {
    core.Fail(Rule::kCrossFlag, api, Pipe::kS, site,
              std::string(api) + ": flag id must lie in [0, 15] without 11 to 14 (SyncAll), got " +
                  std::to_string(id));
    return false;
  }
  if (!core.machine.HasCrossFlags()) {
    core.Fail(
        Rule::kCrossFlag, api, Pipe::kS, site,
        std::string(api) + ": an AIV_ONLY or AIC_ONLY kernel has no cross-core flags; declare a MIX type");
    return false;
  }
  return true;
}

void Wait(Core& core, const std::function<bool()>& ready, const std::string& what, Site site) {
  core.wait_site = site;
  const std::string where = std::string(site.file) + ":" + std::to_string(site.line);
  if (!core.machine.scheduler().WaitUntil(core.id, ready, what + " (" + where + ")")) throw Abort{};
}

// Cores that wait for each other must all be resident.
void CheckResident(Core& core, const char* api, Site site) {
  const Options& o = core.machine.options();
  const int limit = core.machine.HasAic() ? o.aic_cores : 2 * o.aic_cores;
  if (o.block_dim <= limit) return;
  core.Fail(Rule::kBlockDim, api, Pipe::kS, site,
            std::string(api) + ": all blocks must be resident, but the launch has " +
                std::to_string(o.block_dim) + " blocks on " + std::to_string(limit) + " cores");
}

}  // namespace

void CrossSet(int mode, Pipe pipe, int id, Site site) {
  Core& core = Current();
  if (!CheckFlag(core, "CrossCoreSetFlag", id, site)) return;
  if (mode < 0 || mode > 2 || pipe == Pipe::kCount || pipe == Pipe::kS || !core.HasPipe(pipe)) {
    core.Fail(Rule::kCrossFlag, "CrossCoreSetFlag", pipe, site,
              "CrossCoreSetFlag: mode must be 0, 1 or 2 and the pipe one of this core but not S, got mode " +
                  std::to_string(mode) + " pipe " + PipeName(pipe));
    return;
  }
  if (mode == 1 && core.cube) {
    core.Fail(Rule::kCrossFlag, "CrossCoreSetFlag", pipe, site,
              "CrossCoreSetFlag: mode 1 is for the AIVs of a block");
    return;
  }
  if (mode == 2 && !core.machine.mix()) {
    core.Fail(Rule::kCrossFlag, "CrossCoreSetFlag", pipe, site, "CrossCoreSetFlag: mode 2 needs AIC and AIV");
    return;
  }
  if (mode == 0) CheckResident(core, "CrossCoreSetFlag", site);
  CrossFlag& flag = core.machine.SetSide(core, mode, id, site);
  flag.last_site = site;
  flag.sets[core.id].push_back(core.Snapshot(pipe));
  const uint64_t complete = Complete(flag);
  for (const int w : flag.waiters) {
    if (complete - flag.waited[w] > kFlagMax) {
      core.Fail(Rule::kCrossFlag, "CrossCoreSetFlag", pipe, site,
                "CrossCoreSetFlag: counter of flag " + std::to_string(id) + " overflows 15 at " +
                    core.machine.cores()[w]->Name());
    }
  }
  Record(core, Op::kCrossSet, pipe, mode, id, site);
}

void CrossWait(int id, Site site) {
  Core& core = Current();
  if (!CheckFlag(core, "CrossCoreWaitFlag", id, site)) return;
  Machine& machine = core.machine;
  CrossFlag* found = nullptr;
  Wait(
      core,
      [&] {
        for (CrossFlag* f : machine.WaitSides(core, id)) {
          if (Complete(*f) > f->waited[core.id]) {
            found = f;
            return true;
          }
        }
        return false;
      },
      "CrossCoreWaitFlag(" + std::to_string(id) + ")", site);
  const uint64_t k = found->waited[core.id]++;
  for (const int p : found->producers) core.JoinAll(found->sets[p][k]);
  const bool consumed =
      std::all_of(found->waiters.begin(), found->waiters.end(), [&](int w) { return found->waited[w] > k; });
  if (consumed) {
    for (const int p : found->producers) std::vector<uint32_t>().swap(found->sets[p][k]);
  }
  Record(core, Op::kCrossWait, Pipe::kS, found->mode, id, site);
}

namespace {

// The software forms count in GM from 0; anything else there makes them hang or pass too early.
void CheckZeroed(Core& core, const char* api, const GlobalRef& at, uint64_t bytes, Site site) {
  GmAllocation* gm = core.checking ? core.machine.gm().Find(at.addr) : nullptr;
  if (!gm) return;
  const uint64_t begin = static_cast<uint64_t>(at.addr - gm->begin());
  const bool zero = gm->init().All(begin, bytes) &&
                    std::all_of(at.addr, at.addr + bytes, [](uint8_t byte) { return byte == 0; });
  if (zero) return;
  core.Fail(Rule::kUninit, api, Pipe::kS, site,
            std::string(api) + ": gmWorkspace must be zeroed before its first use");
}

std::vector<uint32_t> AllOf(const Core& core) {
  std::vector<uint32_t> mine = core.seen;
  for (int p = 0; p < kPipes; ++p) {
    const std::vector<uint32_t> s = core.Snapshot(static_cast<Pipe>(p));
    for (size_t i = 0; i < mine.size(); ++i) mine[i] = std::max(mine[i], s[i]);
  }
  return mine;
}

void Arrive(Core& core, SyncPoint& point, int size, const char* what, Site site) {
  const std::vector<uint32_t> mine = AllOf(core);
  point.gathering.resize(mine.size());
  for (size_t i = 0; i < mine.size(); ++i) point.gathering[i] = std::max(point.gathering[i], mine[i]);
  const uint64_t generation = point.generation;
  if (++point.arrived == size) {
    point.arrived = 0;
    point.released = point.gathering;
    ++point.generation;
  }
  Wait(
      core, [&] { return point.generation > generation; },
      std::string(what) + ", " + std::to_string(point.arrived) + " of " + std::to_string(size) +
          " cores arrived",
      site);
  core.JoinAll(point.released);
}

}  // namespace

void SyncAllCores(bool vector_only, Site site) {
  Core& core = Current();
  Machine& machine = core.machine;
  if (!machine.HasCrossFlags()) {
    core.Fail(Rule::kCrossFlag, "SyncAll", Pipe::kS, site,
              "SyncAll: the hardware form needs a MIX kernel type (MIX_AIV_1_0 for vector-only kernels)");
  }
  CheckResident(core, "SyncAll", site);
  if (vector_only && core.cube) return;
  Arrive(core, machine.Sync(vector_only), machine.SyncSize(vector_only), "SyncAll", site);
  Record(core, Op::kSyncAll, Pipe::kS, vector_only ? 1 : 0, 0, site);
}

void SoftSyncAll(int used_cores, const GlobalRef& workspace, Site site) {
  Core& core = Current();
  CheckResident(core, "SyncAll", site);
  const int size = used_cores > 0 ? used_cores : core.machine.SyncSize(true);
  SyncPoint& point = core.machine.soft_sync();
  if (point.generation == 0 && point.arrived == 0)
    CheckZeroed(core, "SyncAll", workspace, static_cast<uint64_t>(size) * 32, site);
  Arrive(core, point, size, "SyncAll over GM", site);
  Record(core, Op::kSyncAll, Pipe::kS, 2, 0, site);
}

// IBSet spins until the flag of before has been taken.
void SoftSet(const GlobalRef& slot, Site site) {
  Core& core = Current();
  auto& flags = core.machine.soft_flags();
  if (!flags.count(slot.addr)) CheckZeroed(core, "IBSet", slot, 32, site);
  Wait(core, [&] { return flags[slot.addr].empty(); }, "IBSet: nobody took the flag of before", site);
  flags[slot.addr] = AllOf(core);
}

void SoftWait(const GlobalRef& slot, Site site) {
  Core& core = Current();
  auto& flags = core.machine.soft_flags();
  CheckResident(core, "IBWait", site);
  Wait(core, [&] { return !flags[slot.addr].empty(); }, "IBWait", site);
  core.JoinAll(flags[slot.addr]);
  flags[slot.addr].clear();
}

}  // namespace twin
