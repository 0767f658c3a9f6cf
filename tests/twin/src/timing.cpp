#include "timing.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace twin {

namespace {

class Replay {
public:
  Replay(Machine& machine, const TimingTable& table);
  Timeline Run();

private:
  struct Cursor {
    size_t next = 0;
    double pipe[kPipes] = {};
    double event[kPipes][kPipes][8] = {};
    std::map<std::tuple<int, int>, size_t> waited;  // (mode, id)
    std::map<int, size_t> synced;
  };
  using FlagKey = std::tuple<int, int, int>;  // (mode, id, core)

  bool Step(int core);
  void Instruction(int core, const TraceOp& op);
  bool CrossWait(int core, const TraceOp& op);
  bool SyncAll(int core, const TraceOp& op);
  std::vector<int> Producers(const Core& core, int mode) const;
  void AllPipes(Cursor& c, double time);
  static double Latest(const Cursor& c) { return *std::max_element(c.pipe, c.pipe + kPipes); }

  Machine& machine_;
  Timeline timeline_;
  std::vector<Cursor> cursors_;
  std::map<FlagKey, std::vector<double>> set_times_;
  std::map<std::tuple<int, size_t>, std::map<int, double>>
      sync_arrivals_;                                 // (kind, generation) -> core -> time
  std::map<int, std::map<int, size_t>> sync_counts_;  // kind -> core -> how often in total
  std::map<Path, int> sharers_;
};

Path SharedPath(Path p) {
  return p == Path::kUbToGm ? Path::kGmToUb : p;
}

Replay::Replay(Machine& machine, const TimingTable& table)
    : machine_(machine), cursors_(machine.cores().size()) {
  timeline_.table = table;
  timeline_.cores.resize(cursors_.size());
  std::map<Path, std::set<int>> users;
  for (const auto& core : machine.cores()) {
    for (const TraceOp& op : core->trace) {
      if (op.op == Op::kInstr) users[SharedPath(op.cost.path)].insert(core->id);
      if (op.op == Op::kSyncAll) ++sync_counts_[static_cast<int>(op.token)][core->id];
    }
  }
  for (const auto& u : users) sharers_[u.first] = static_cast<int>(u.second.size());
}

void Replay::AllPipes(Cursor& c, double time) {
  for (double& p : c.pipe) p = std::max(p, time);
}

void Replay::Instruction(int core, const TraceOp& op) {
  Cursor& c = cursors_[core];
  double& scalar = c.pipe[static_cast<int>(Pipe::kS)];
  const double duration = InstructionCycles(timeline_.table, op.cost, sharers_[SharedPath(op.cost.path)]);
  double& pipe = c.pipe[static_cast<int>(op.pipe)];
  // The scalar unit issues one instruction after the other; the pipe then works on its own.
  scalar += op.pipe == Pipe::kS ? 0 : timeline_.table.scalar;
  const double begin = std::max(pipe, scalar);
  pipe = begin + duration;
  CoreTimeline& t = timeline_.cores[core];
  t.busy[static_cast<int>(op.pipe)] += duration;
  t.spans.push_back({begin, pipe, &op});
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
  Cursor& c = cursors_[core];
  const int mode = static_cast<int>(op.token);
  size_t& k = c.waited[{mode, op.id}];
  double ready = 0;
  for (const int p : Producers(*machine_.cores()[core], mode)) {
    const auto& times = set_times_[{mode, op.id, p}];
    if (times.size() <= k) return false;
    ready = std::max(ready, times[k]);
  }
  ++k;
  AllPipes(c, ready + timeline_.table.cross_flag);
  return true;
}

bool Replay::SyncAll(int core, const TraceOp& op) {
  Cursor& c = cursors_[core];
  const int kind = static_cast<int>(op.token);
  const size_t generation = c.synced[kind];
  auto& arrivals = sync_arrivals_[{kind, generation}];
  arrivals[core] = Latest(c);
  size_t expected = 0;
  for (const auto& n : sync_counts_[kind]) expected += n.second > generation;
  if (arrivals.size() < expected) return false;
  double ready = 0;
  for (const auto& a : arrivals) ready = std::max(ready, a.second);
  ++c.synced[kind];
  AllPipes(c, ready);
  return true;
}

bool Replay::Step(int core) {
  Cursor& c = cursors_[core];
  const TraceOp& op = machine_.cores()[core]->trace[c.next];
  const int src = static_cast<int>(op.pipe), dst = static_cast<int>(op.to);
  switch (op.op) {
    case Op::kInstr:
      Instruction(core, op);
      break;
    case Op::kSetFlag:
      c.event[src][dst][op.id] = c.pipe[src];
      break;
    case Op::kWaitFlag:
      c.pipe[dst] = std::max(c.pipe[dst], c.event[src][dst][op.id]);
      break;
    case Op::kBarrier:
      if (op.pipe == Pipe::kCount) AllPipes(c, Latest(c));
      break;
    case Op::kCrossSet:
      set_times_[{static_cast<int>(op.token), op.id, core}].push_back(c.pipe[src]);
      break;
    case Op::kCrossWait:
      if (!CrossWait(core, op)) return false;
      break;
    case Op::kSyncAll:
      if (!SyncAll(core, op)) return false;
      break;
  }
  ++c.next;
  return true;
}

Timeline Replay::Run() {
  bool progress = true;
  while (progress) {
    progress = false;
    for (size_t core = 0; core < cursors_.size(); ++core) {
      const size_t size = machine_.cores()[core]->trace.size();
      while (cursors_[core].next < size && Step(static_cast<int>(core))) progress = true;
    }
  }
  for (size_t core = 0; core < cursors_.size(); ++core) {
    timeline_.cores[core].end = Latest(cursors_[core]);
    timeline_.end = std::max(timeline_.end, timeline_.cores[core].end);
  }
  return std::move(timeline_);
}

}  // namespace

Timeline Simulate(Machine& machine, const TimingTable& table) {
  return Replay(machine, table).Run();
}

}  // namespace twin
