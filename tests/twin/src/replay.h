// SPDX-License-Identifier: Apache-2.0
// State of the event simulation. The scalar unit of a core hands its instructions and flags to the pipes in
// program order and runs ahead of them until it must wait; each pipe works through its queue in order. Times
// are known as soon as what they follow from is known, except of GM transfers: these share the bandwidth with
// all others under way, so the simulation steps from one start or end of a transfer to the next.
#pragma once

#include <deque>
#include <map>
#include <queue>
#include <tuple>
#include <vector>

#include "bandwidth.h"
#include "l2.h"
#include "timing.h"

namespace twin {

class Replay {
 public:
  Replay(Machine& machine, const TimingTable& table);
  Timeline Run();

 private:
  struct Item {
    const TraceOp* op;
    double issue;
    uint64_t order;
  };
  struct PipeState {
    std::deque<Item> queue;
    double free = 0;
    bool transferring = false;
    bool Idle() const { return queue.empty() && !transferring; }
  };
  // A Mmad or Fixpipe under the unit flag; times are negative while unknown.
  struct UnitOp {
    uint64_t order;
    const TraceOp* op;
    double begin = -1, end = -1;
  };
  struct CoreState {
    size_t next = 0;
    double scalar = 0;
    uint64_t order = 0;
    PipeState pipes[kPipes];
    std::deque<double> events[kPipes][kPipes][8];
    std::map<std::pair<int, int>, size_t> waited;  // (mode, id) of cross-core flags
    std::map<int, size_t> synced;
    std::deque<UnitOp> unit_ops;
    bool dirty = true;
  };

  // replay.cpp: the scalar unit and what joins cores.
  void Advance(int core);
  bool Dispatch(int core);
  bool Step(int core, const TraceOp& op);
  bool Drained(int core, double& time) const;
  bool CrossWait(int core, const TraceOp& op);
  bool SyncAll(int core, const TraceOp& op);
  std::vector<int> Producers(const Core& core, int mode) const;
  void MarkAll();
  void Wait(int core, const TraceOp& op, double until);
  double NextTime() const;
  void StepTo(double time);

  // replay_pipes.cpp: the pipes.
  bool RunPipe(int core, int pipe);
  bool RunItem(int core, int pipe, const Item& item);
  bool StartInstruction(int core, int pipe, const Item& item);
  void StartTransfer(int core, int pipe, const Item& item, double not_before);
  void EndTransfer(const Transfer& transfer);
  bool UnitFlagReady(int core, const Item& item, double& start, double& not_before);
  void NoteUnitOp(int core, const Item& item, double begin, double end);
  void AddSpan(int core, int pipe, double begin, double end, const TraceOp* op);

  Machine& machine_;
  Timeline timeline_;
  std::vector<CoreState> cores_;
  double now_ = 0;
  L2Cache l2_;
  std::vector<Transfer> transfers_;
  bool rates_stale_ = false;
  std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>, std::greater<>> wakes_;
  std::vector<int> dirty_;
  std::map<std::tuple<int, int, int>, std::vector<double>> set_times_;      // (mode, id, core)
  std::map<std::tuple<int, size_t>, std::map<int, double>> sync_arrivals_;  // (kind, generation)
  std::map<int, std::map<int, size_t>> sync_counts_;  // kind -> core -> how often in total
};

}  // namespace twin
