// SPDX-License-Identifier: Apache-2.0
// SetFlag, WaitFlag, PipeBarrier and the event id pool of a core.
#include "machine.h"

namespace twin {

namespace {

std::string EventName(Pipe src, Pipe dst, int id) {
  return std::string(PipeName(src)) + "_" + PipeName(dst) + " id " + std::to_string(id);
}

// The pairs that the two core types have (asc-devkit, overview of synchronisation inside a core).
bool PairExists(bool cube, Pipe src, Pipe dst) {
  auto any = [](Pipe p, std::initializer_list<Pipe> list) {
    for (const Pipe q : list) {
      if (p == q) return true;
    }
    return false;
  };
  using P = Pipe;
  if (!cube) {
    const bool known =
        any(src, {P::kS, P::kV, P::kMte2, P::kMte3}) && any(dst, {P::kS, P::kV, P::kMte2, P::kMte3});
    return known && src != dst;
  }
  switch (src) {
    case P::kM:
      return any(dst, {P::kMte1, P::kMte2, P::kFix, P::kS});
    case P::kMte1:
      return any(dst, {P::kM, P::kMte2, P::kMte3, P::kFix});
    case P::kMte2:
      return any(dst, {P::kM, P::kMte1, P::kMte3, P::kFix, P::kS});
    case P::kMte3:
      return any(dst, {P::kMte1, P::kMte2, P::kS});
    case P::kFix:
      return any(dst, {P::kM, P::kMte1, P::kMte2, P::kMte3, P::kS, P::kFix});
    case P::kS:
      return any(dst, {P::kMte2, P::kMte3});
    default:
      return false;
  }
}

bool CheckEvent(Core& core, const char* api, Pipe src, Pipe dst, int id, Site site) {
  if (!PairExists(core.cube, src, dst)) {
    core.Fail(Rule::kFlagPair, api, dst, site,
              std::string(api) + ": " + (core.cube ? "an AIC" : "an AIV") + " core has no event " +
                  PipeName(src) + "_" + PipeName(dst));
    return false;
  }
  if (id < 0 || id >= kEventIds) {
    core.Fail(Rule::kEventId, api, dst, site,
              std::string(api) + ": event id must lie in [0, 7], got " + std::to_string(id));
    return false;
  }
  return true;
}

void Record(Core& core, Op op, Pipe src, Pipe dst, int id, Site site) {
  if (!core.machine.options().trace) return;
  TraceOp t;
  t.op = op;
  t.pipe = src;
  t.to = dst;
  t.id = static_cast<uint8_t>(id);
  t.site = site;
  core.trace.push_back(t);
}

}  // namespace

void SetEvent(Pipe src, Pipe dst, int id, Site site) {
  Core& core = Current();
  if (!CheckEvent(core, "SetFlag", src, dst, id, site)) return;
  Event& event = core.events[int(src)][int(dst)][id];
  if (event.set) {
    core.Fail(Rule::kFlag, "SetFlag", src, site,
              "SetFlag: " + EventName(src, dst, id) + " is already set (line " +
                  std::to_string(event.setter.site.line) + ") and nothing waited for it");
  }
  if (id >= kUserEventIds && !(core.event_used[int(src)][int(dst)] >> id & 1)) {
    core.Fail(Rule::kEventId, "SetFlag", src, site,
              "SetFlag: event id " + std::to_string(id) + " is reserved; use 0 to 5 or AllocEventID");
  }
  event.set = true;
  event.clock = core.Completed(src);
  event.setter = core.Here("SetFlag", src, site);
  Record(core, Op::kSetFlag, src, dst, id, site);
}

void WaitEvent(Pipe src, Pipe dst, int id, Site site) {
  Core& core = Current();
  if (!CheckEvent(core, "WaitFlag", src, dst, id, site)) return;
  Event& event = core.events[int(src)][int(dst)][id];
  if (!event.set) {
    core.Fail(Rule::kFlag, "WaitFlag", dst, site,
              "WaitFlag: " + EventName(src, dst, id) + " is not set: the core hangs here");
    return;
  }
  event.set = false;
  if (dst == Pipe::kS) {
    // The scalar unit issues everything that follows, so all pipes start after what it waited for.
    for (int p = 0; p < kPipes; ++p) core.Join(static_cast<Pipe>(p), event.clock);
  } else {
    core.Join(dst, event.clock);
  }
  Record(core, Op::kWaitFlag, src, dst, id, site);
}

void Barrier(Pipe pipe, Site site) {
  Core& core = Current();
  Record(core, Op::kBarrier, pipe, pipe, 0, site);
  if (pipe != Pipe::kCount) {
    if (!core.HasPipe(pipe)) {
      core.Fail(Rule::kCore, "PipeBarrier", pipe, site,
                std::string("PipeBarrier: ") + core.Name() + " has no pipe " + PipeName(pipe));
      return;
    }
    core.clock[int(pipe)] = core.Completed(pipe);
    return;
  }
  PipeClock all{};
  for (int p = 0; p < kPipes; ++p) {
    const PipeClock c = core.Completed(static_cast<Pipe>(p));
    for (int q = 0; q < kPipes; ++q) all[q] = std::max(all[q], c[q]);
  }
  for (int p = 0; p < kPipes; ++p) core.clock[p] = all;
}

int AllocEvent(Pipe src, Pipe dst, bool reserve, Site site) {
  Core& core = Current();
  uint8_t& used = core.event_used[int(src)][int(dst)];
  for (int id = 0; id < kEventIds; ++id) {
    if (used >> id & 1) continue;
    if (reserve) used = static_cast<uint8_t>(used | 1u << id);
    return id;
  }
  core.Fail(Rule::kEventId, "AllocEventID", src, site,
            std::string("AllocEventID: all 8 ids of ") + PipeName(src) + "_" + PipeName(dst) + " are taken");
  return 0;
}

void ReleaseEvent(Pipe src, Pipe dst, int id, Site site) {
  Core& core = Current();
  uint8_t& used = core.event_used[int(src)][int(dst)];
  if (id < 0 || id >= kEventIds || !(used >> id & 1)) {
    core.Fail(Rule::kEventId, "ReleaseEventID", src, site,
              "ReleaseEventID: " + EventName(src, dst, id) + " was not allocated");
    return;
  }
  used = static_cast<uint8_t>(used & ~(1u << id));
}

}  // namespace twin
