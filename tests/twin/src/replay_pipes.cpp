// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "replay.h"

namespace twin {

namespace {
constexpr size_t kUnitOps = 64;  // how far back a unit flag looks

bool SameTile(const TraceOp& a, const TraceOp& b) {
  return a.l0c_begin < b.l0c_end && b.l0c_begin < a.l0c_end;
}
}  // namespace

void Replay::AddSpan(int core, int pipe, double begin, double end, const TraceOp* op) {
  CoreTimeline& t = timeline_.cores[core];
  t.busy[pipe] += end - begin;
  t.spans.push_back({begin, end, op});
  if (op->cost.path == Path::kCube) t.arithmetic += static_cast<double>(op->cost.work);
  if (op->cost.path == Path::kVector || op->cost.path == Path::kUbToUb) t.arithmetic += op->cost.repeats;
}

bool Replay::RunPipe(int core, int pipe) {
  PipeState& p = cores_[core].pipes[pipe];
  bool moved = false;
  while (!p.queue.empty() && !p.transferring) {
    const Item item = p.queue.front();
    if (!RunItem(core, pipe, item)) break;
    p.queue.pop_front();
    moved = true;
  }
  return moved;
}

bool Replay::RunItem(int core, int pipe, const Item& item) {
  CoreState& c = cores_[core];
  PipeState& p = c.pipes[pipe];
  const TraceOp& op = *item.op;
  const double start = std::max(p.free, item.issue);
  switch (op.op) {
    case Op::kInstr:
      return StartInstruction(core, pipe, item);
    case Op::kSetFlag:
      c.events[pipe][static_cast<int>(op.to)][op.id].push_back(start);
      return true;
    case Op::kWaitFlag: {
      auto& events = c.events[static_cast<int>(op.pipe)][pipe][op.id];
      if (events.empty()) return false;
      p.free = std::max(p.free, events.front());
      events.pop_front();
      return true;
    }
    case Op::kCrossSet:
      set_times_[{static_cast<int>(op.token), op.id, core}].push_back(start);
      MarkAll();
      return true;
    default:
      return true;
  }
}

// Under the unit flag Fixpipe follows its Mmad unit by unit: it starts after it and cannot overtake it. Mmad
// takes a tile back when its Fixpipe is through.
bool Replay::UnitFlagReady(int core, const Item& item, double& start, double& not_before) {
  if (!item.op->unit_flag) return true;
  const auto& ops = cores_[core].unit_ops;
  for (auto other = ops.rbegin(); other != ops.rend(); ++other) {
    if (other->order >= item.order || other->op->pipe == item.op->pipe || !SameTile(*other->op, *item.op)) {
      continue;
    }
    if (item.op->pipe == Pipe::kM) {
      if (other->end < 0) return false;
      start = std::max(start, other->end);
    } else {
      if (other->begin < 0) return false;
      start = std::max(start, other->begin);
      not_before = other->end + timeline_.table.fix_start;
    }
    break;
  }
  return true;
}

void Replay::NoteUnitOp(int core, const Item& item, double begin, double end) {
  if (!item.op->unit_flag) return;
  auto& ops = cores_[core].unit_ops;
  for (auto& o : ops) {
    if (o.op != item.op) continue;
    o.begin = begin;
    o.end = end;
  }
  while (ops.size() > kUnitOps && ops.front().end >= 0) ops.pop_front();
}

bool Replay::StartInstruction(int core, int pipe, const Item& item) {
  PipeState& p = cores_[core].pipes[pipe];
  double start = std::max(p.free, item.issue), not_before = 0;
  if (!UnitFlagReady(core, item, start, not_before)) return false;
  if (UsesGm(item.op->cost.path)) {
    if (start > now_) {
      wakes_.push({start, core});
      return false;
    }
    StartTransfer(core, pipe, item, not_before);
    return true;
  }
  const double end = std::max(start + FixedCycles(timeline_.table, item.op->cost), not_before);
  AddSpan(core, pipe, start, end, item.op);
  NoteUnitOp(core, item, start, end);
  p.free = end;
  return true;
}

void Replay::StartTransfer(int core, int pipe, const Item& item, double not_before) {
  const TraceOp& op = *item.op;
  const Core& traced = *machine_.cores()[core];
  double missed = 0, touched = 0;
  for (uint32_t i = 0; i < op.gm_count; ++i) {
    const GmRange& r = traced.gm_ranges[op.gm_first + i];
    missed += static_cast<double>(l2_.Touch(r, op.cost.l2_bypass));
    touched += static_cast<double>(r.end - r.begin);
  }
  const double share = touched > 0 ? missed / touched : 0, bytes = static_cast<double>(op.cost.bytes);
  const double times = op.atomic ? 2 : 1;  // an atomic add reads and writes
  timeline_.hbm_bytes += bytes * share;
  timeline_.l2_hit_bytes += bytes * (times - share);
  const TimingTable& t = timeline_.table;
  transfers_.push_back({core, pipe, 1, AloneCycles(t, op.cost, share), HbmBytes(t, op.cost, share),
                        bytes * times, &op, now_, not_before});
  rates_stale_ = true;
  NoteUnitOp(core, item, now_, -1);
  cores_[core].pipes[pipe].transferring = true;
}

void Replay::EndTransfer(const Transfer& transfer) {
  PipeState& p = cores_[transfer.core].pipes[transfer.pipe];
  p.transferring = false;
  p.free = std::max(now_, transfer.not_before);
  AddSpan(transfer.core, transfer.pipe, transfer.begin, p.free, transfer.op);
  NoteUnitOp(transfer.core, {transfer.op, 0, 0}, transfer.begin, p.free);
}

}  // namespace twin
