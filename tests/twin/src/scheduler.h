// SPDX-License-Identifier: Apache-2.0
// Runs the cores of a launch one at a time: each on its own thread, a baton passed in seeded order.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace twin {

class Scheduler {
 public:
  // seed 0: in order, switching only where a core must wait. Otherwise random; preempt = 1 in n instructions.
  Scheduler(int cores, uint64_t seed, uint32_t preempt);

  // body(core) runs to its end or throws Abort; returns false when the cores deadlocked.
  bool Run(const std::function<void(int)>& body);

  // Called by the running core. Waits until ready() holds; false: the launch deadlocked, unwind.
  bool WaitUntil(int core, const std::function<bool()>& ready, const std::string& what);
  void MaybePreempt(int core);

  // After a deadlock: what every unfinished core waited for.
  const std::vector<std::pair<int, std::string>>& blocked() const { return blocked_; }

 private:
  struct Task {
    bool done = false;
    const std::function<bool()>* ready = nullptr;
    std::string waits_for;
    std::condition_variable wake;
  };
  int Pick();
  void PassBaton(std::unique_lock<std::mutex>& lock, int from);

  std::mutex mutex_;
  std::condition_variable main_wake_;
  std::vector<Task> tasks_;
  int turn_ = -1;
  int last_ = -1;
  bool finished_ = false, deadlock_ = false;
  std::mt19937_64 random_;
  bool shuffle_;
  uint32_t preempt_;
  std::vector<std::pair<int, std::string>> blocked_;
};

}  // namespace twin
