// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

namespace twin {

namespace {
int CoreCount(const Options& o) {
  switch (o.task_type) {
    case TaskType::kMixAic12:
      return o.block_dim * 3;
    case TaskType::kMixAic11:
      return o.block_dim * 2;
    default:
      return o.block_dim;
  }
}
}  // namespace

Machine::Machine(const Options& options)
    : options_(options),
      reports_(options.report_limit),
      scheduler_(CoreCount(options), options.seed, options.preempt) {
  const int total = CoreCount(options);
  for (int b = 0; b < options.block_dim; ++b) {
    if (HasAic())
      cores_.push_back(std::make_unique<Core>(*this, static_cast<int>(cores_.size()), true, b, 0, total));
    for (int s = 0; s < AivPerBlock(); ++s) {
      cores_.push_back(std::make_unique<Core>(*this, static_cast<int>(cores_.size()), false, b, s, total));
    }
  }
}

bool Machine::mix() const {
  return options_.task_type == TaskType::kMixAic12 || options_.task_type == TaskType::kMixAic11;
}

bool Machine::HasCrossFlags() const {
  return options_.task_type != TaskType::kAivOnly && options_.task_type != TaskType::kAicOnly;
}

int Machine::AivPerBlock() const {
  switch (options_.task_type) {
    case TaskType::kMixAic12:
      return 2;
    case TaskType::kMixAic11:
    case TaskType::kMixAiv10:
    case TaskType::kAivOnly:
      return 1;
    default:
      return 0;
  }
}

bool Machine::HasAic() const {
  return options_.task_type != TaskType::kAivOnly && options_.task_type != TaskType::kMixAiv10;
}

Core* Machine::Find(bool cube, int block, int sub) {
  for (auto& c : cores_) {
    if (c->cube == cube && c->block == block && c->sub == sub) return c.get();
  }
  return nullptr;
}

int Machine::SyncSize(bool vector_only) const {
  const int aic = HasAic() && !vector_only ? 1 : 0;
  return options_.block_dim * (aic + AivPerBlock());
}

std::vector<int> Machine::CoresWhere(bool cube, int block) const {
  std::vector<int> ids;
  for (const auto& c : cores_) {
    if (c->cube == cube && (block < 0 || c->block == block)) ids.push_back(c->id);
  }
  return ids;
}

CrossFlag& Machine::SetSide(Core& core, int mode, int id, Site site) {
  const int group = mode == 0 ? -1 : core.block;
  CrossFlag& flag = flags_[{mode, id, core.cube, group}];
  if (flag.mode < 0) {
    flag.mode = mode;
    flag.producers = CoresWhere(core.cube, group);
    flag.waiters = mode == 2 ? CoresWhere(!core.cube, group) : flag.producers;
  }
  const auto known = flag_mode_.emplace(std::make_tuple(id, core.cube, core.block), mode);
  if (known.first->second != mode) {
    core.Fail(Rule::kCrossFlag, "CrossCoreSetFlag", Pipe::kS, site,
              "flag " + std::to_string(id) + " was set in mode " + std::to_string(known.first->second) +
                  " and now in mode " + std::to_string(mode) + ": one flag serves one mode");
    known.first->second = mode;
  }
  return flag;
}

std::vector<CrossFlag*> Machine::WaitSides(Core& core, int id) {
  std::vector<CrossFlag*> sides;
  for (auto& entry : flags_) {
    if (std::get<1>(entry.first) != id) continue;
    for (const int w : entry.second.waiters) {
      if (w == core.id) sides.push_back(&entry.second);
    }
  }
  return sides;
}

void Machine::CheckFlagsAtEnd() {
  for (auto& entry : flags_) {
    CrossFlag& flag = entry.second;
    uint64_t most = 0, least = ~uint64_t{0};
    for (const int p : flag.producers) {
      most = std::max<uint64_t>(most, flag.sets[p].size());
      least = std::min<uint64_t>(least, flag.sets[p].size());
    }
    std::string left;
    if (most != least) left = "not every core of the group set it equally often";
    for (const int w : flag.waiters) {
      if (flag.waited[w] < least) {
        left = cores_[w]->Name() + " waited " + std::to_string(flag.waited[w]) + " times for " +
               std::to_string(least) + " sets";
      }
    }
    if (left.empty()) continue;
    cores_[flag.producers.front()]->Fail(Rule::kCrossFlag, "CrossCoreSetFlag", Pipe::kS, flag.last_site,
                                         "flag " + std::to_string(std::get<1>(entry.first)) +
                                             " is left set at the end of the kernel: " + left);
  }
}

}  // namespace twin
