// SPDX-License-Identifier: Apache-2.0
// One launch: the cores, global memory, cross-core flags, reports.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "core.h"
#include "gm.h"
#include "report.h"
#include "scheduler.h"

namespace twin {

// Numbering of KERNEL_TASK_TYPE_*; the macros in twin/tiling.h use the same values.
enum class TaskType : int { kAivOnly, kAicOnly, kMixAic12, kMixAic11, kMixAiv10, kMixAic10 };

struct Options {
  TaskType task_type = TaskType::kAivOnly;
  int block_dim = 1;
  int aic_cores = 20;
  uint64_t seed = 0;
  uint32_t preempt = 0;
  bool checks = true;
  bool trace = true;
  uint64_t report_limit = 200;
  uint64_t tiling_key = 0;
  uint64_t reserved_workspace = 0;
  std::string kernel;
};

// A cross-core flag counts per participant; set k of the group is complete when every producer has set k
// times.
struct CrossFlag {
  int mode = -1;
  std::vector<int> producers, waiters;
  std::map<int, std::vector<std::vector<uint32_t>>> sets;  // producer -> clocks of its sets
  std::map<int, uint64_t> waited;
  Site last_site;
};

struct SyncPoint {
  int arrived = 0;
  uint64_t generation = 0;
  std::vector<uint32_t> gathering, released;
};

class Machine {
 public:
  explicit Machine(const Options& options);

  const Options& options() const { return options_; }
  bool mix() const;
  bool HasCrossFlags() const;
  int AivPerBlock() const;
  bool HasAic() const;
  ReportList& reports() { return reports_; }
  GlobalMemory& gm() { return gm_; }
  Scheduler& scheduler() { return scheduler_; }
  std::vector<std::unique_ptr<Core>>& cores() { return cores_; }
  Core* Find(bool cube, int block, int sub);

  // Flag `id` as seen by `core` when it sets (producer) in `mode`.
  CrossFlag& SetSide(Core& core, int mode, int id, Site site);
  std::vector<CrossFlag*> WaitSides(Core& core, int id);
  SyncPoint& Sync(bool vector_only) { return vector_only ? sync_vector_ : sync_all_; }
  int SyncSize(bool vector_only) const;
  std::map<const void*, std::vector<uint32_t>>& soft_flags() { return soft_flags_; }
  SyncPoint& soft_sync() { return soft_sync_; }
  void CheckFlagsAtEnd();

 private:
  std::vector<int> CoresWhere(bool cube, int block) const;

  Options options_;
  ReportList reports_;
  GlobalMemory gm_;
  std::vector<std::unique_ptr<Core>> cores_;
  Scheduler scheduler_;
  // (mode, id, producers are cube, block or -1 for all)
  std::map<std::tuple<int, int, bool, int>, CrossFlag> flags_;
  std::map<std::tuple<int, bool, int>, int> flag_mode_;  // (id, setter is cube, block) -> mode it was set in
  SyncPoint sync_vector_, sync_all_, soft_sync_;
  std::map<const void*, std::vector<uint32_t>> soft_flags_;
};

}  // namespace twin
