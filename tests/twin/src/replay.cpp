// SPDX-License-Identifier: Apache-2.0
#include "replay.h"

#include <algorithm>
#include <limits>

namespace twin {

namespace {
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kDone = 1e-12;
}  // namespace

Replay::Replay(Machine& machine, const TimingTable& table)
    : machine_(machine), cores_(machine.cores().size()), l2_(table.l2_bytes) {
  timeline_.table = table;
  timeline_.cores.resize(cores_.size());
  for (const auto& core : machine.cores()) {
    for (const TraceOp& op : core->trace) {
      if (op.op == Op::kSyncAll) ++sync_counts_[static_cast<int>(op.token)][core->id];
    }
  }
  const Options& o = machine.options();
  const double share = std::min(1.0, static_cast<double>(o.block_dim) / std::max(o.aic_cores, 1));
  timeline_.start_us = table.start_us + table.start_full_us * share;
}

void Replay::MarkAll() {
  for (size_t c = 0; c < cores_.size(); ++c) {
    if (cores_[c].dirty) continue;
    cores_[c].dirty = true;
    dirty_.push_back(static_cast<int>(c));
  }
}

void Replay::Wait(int core, const TraceOp& op, double until) {
  double& scalar = cores_[core].scalar;
  if (until > scalar) timeline_.cores[core].spans.push_back({scalar, until, &op});
  scalar = std::max(scalar, until);
}

bool Replay::Drained(int core, double& time) const {
  for (const PipeState& p : cores_[core].pipes) {
    if (!p.Idle()) return false;
    time = std::max(time, p.free);
  }
  return true;
}

std::vector<int> Replay::Producers(const Core& core, int mode) const {
  std::vector<int> ids;
  for (const auto& c : machine_.cores()) {
    const bool type = mode == 2 ? c->cube != core.cube : c->cube == core.cube;
    if (type && (mode == 0 || c->block == core.block)) ids.push_back(c->id);
  }
  return ids;
}

bool Replay::CrossWait(int core, const TraceOp& op) {
  const int mode = static_cast<int>(op.token);
  size_t& k = cores_[core].waited[{mode, op.id}];
  double ready = 0;
  for (const int p : Producers(*machine_.cores()[core], mode)) {
    const auto& times = set_times_[{mode, op.id, p}];
    if (times.size() <= k) return false;
    ready = std::max(ready, times[k]);
  }
  ++k;
  Wait(core, op, ready + timeline_.table.cross_flag);
  return true;
}

bool Replay::SyncAll(int core, const TraceOp& op) {
  CoreState& c = cores_[core];
  const int kind = static_cast<int>(op.token);
  const size_t generation = c.synced[kind];
  double arrival = c.scalar;
  if (!Drained(core, arrival)) return false;
  auto& arrivals = sync_arrivals_[{kind, generation}];
  const bool first = arrivals.emplace(core, arrival).second;
  size_t expected = 0;
  for (const auto& n : sync_counts_[kind]) expected += n.second > generation;
  if (arrivals.size() < expected) return false;
  if (first) MarkAll();
  double ready = 0;
  for (const auto& a : arrivals) ready = std::max(ready, a.second);
  ++c.synced[kind];
  Wait(core, op, ready);
  return true;
}

// One operation of the program: false when the scalar unit must wait for something that is not known yet.
bool Replay::Step(int core, const TraceOp& op) {
  CoreState& c = cores_[core];
  const double cost = timeline_.table.scalar;
  const bool scalar_source = op.pipe == Pipe::kS, scalar_waits = op.to == Pipe::kS;
  auto hand_to = [&](Pipe pipe) {
    c.scalar += cost;
    c.pipes[static_cast<int>(pipe)].queue.push_back({&op, c.scalar, c.order});
  };
  double time = c.scalar;
  switch (op.op) {
    case Op::kInstr:
      if (!scalar_source) {
        c.scalar += op.cost.mask_sets * cost;
        timeline_.cores[core].busy[static_cast<int>(Pipe::kS)] += op.cost.mask_sets * cost;
        hand_to(op.pipe);
        if (op.unit_flag) c.unit_ops.push_back({c.order, &op});
      } else {
        AddSpan(core, static_cast<int>(Pipe::kS), c.scalar, c.scalar + cost, &op);
        c.scalar += cost;
      }
      break;
    case Op::kSetFlag:
      if (scalar_source) {
        c.events[0][static_cast<int>(op.to)][op.id].push_back(c.scalar);
      } else {
        hand_to(op.pipe);
      }
      break;
    case Op::kWaitFlag: {
      if (!scalar_waits) {
        hand_to(op.to);
        break;
      }
      auto& events = c.events[static_cast<int>(op.pipe)][0][op.id];
      if (events.empty()) return false;
      Wait(core, op, events.front());
      events.pop_front();
      break;
    }
    case Op::kBarrier:
      // A pipe works in order here, so a barrier inside one costs nothing.
      if (op.pipe != Pipe::kCount) break;
      if (!Drained(core, time)) return false;
      Wait(core, op, time);
      break;
    case Op::kCrossSet:
      hand_to(op.pipe);
      break;
    case Op::kCrossWait:
      return CrossWait(core, op);
    case Op::kSyncAll:
      return SyncAll(core, op);
  }
  return true;
}

bool Replay::Dispatch(int core) {
  CoreState& c = cores_[core];
  const Trace& trace = machine_.cores()[core]->trace;
  const size_t first = c.next;
  while (c.next < trace.size() && Step(core, trace[c.next])) {
    ++c.next;
    ++c.order;
  }
  return c.next != first;
}

void Replay::Advance(int core) {
  for (bool moved = true; moved;) {
    moved = Dispatch(core);
    for (int p = 0; p < kPipes; ++p) moved |= RunPipe(core, p);
  }
}

double Replay::NextTime() const {
  double next = wakes_.empty() ? kNever : wakes_.top().first;
  for (const Transfer& t : transfers_) next = std::min(next, now_ + t.left / t.rate);
  return next;
}

void Replay::StepTo(double time) {
  std::vector<Transfer> ended;
  for (Transfer& t : transfers_) {
    t.left -= t.rate * (time - now_);
    if (t.left <= kDone || t.left <= t.rate * 1e-9 * time) ended.push_back(t);
  }
  now_ = time;
  if (!ended.empty()) {
    const auto done = [&](const Transfer& t) { return t.left <= kDone || t.left <= t.rate * 1e-9 * time; };
    transfers_.erase(std::remove_if(transfers_.begin(), transfers_.end(), done), transfers_.end());
    rates_stale_ = true;
  }
  for (const Transfer& t : ended) {
    EndTransfer(t);
    if (!cores_[t.core].dirty) dirty_.push_back(t.core);
    cores_[t.core].dirty = true;
  }
  while (!wakes_.empty() && wakes_.top().first <= now_) {
    const int core = wakes_.top().second;
    wakes_.pop();
    if (!cores_[core].dirty) dirty_.push_back(core);
    cores_[core].dirty = true;
  }
}

Timeline Replay::Run() {
  for (size_t c = 0; c < cores_.size(); ++c) dirty_.push_back(static_cast<int>(c));
  const TimingTable& t = timeline_.table;
  for (;;) {
    while (!dirty_.empty()) {
      const int core = dirty_.back();
      dirty_.pop_back();
      cores_[core].dirty = false;
      Advance(core);
    }
    if (rates_stale_) ShareBandwidth(transfers_, BytesPerCycle(t, t.hbm_gbs), BytesPerCycle(t, t.l2_gbs));
    rates_stale_ = false;
    const double next = NextTime();
    if (next == kNever) break;
    StepTo(std::max(next, now_));
  }
  for (size_t c = 0; c < cores_.size(); ++c) {
    double end = cores_[c].scalar;
    for (const PipeState& p : cores_[c].pipes) end = std::max(end, p.free);
    timeline_.cores[c].end = end;
    timeline_.end = std::max(timeline_.end, end);
  }
  return std::move(timeline_);
}

Timeline Simulate(Machine& machine, const TimingTable& table) {
  return Replay(machine, table).Run();
}

}  // namespace twin
