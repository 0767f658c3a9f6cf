// SPDX-License-Identifier: Apache-2.0
#include "scheduler.h"

#include "core.h"

namespace twin {

Scheduler::Scheduler(int cores, uint64_t seed, uint32_t preempt)
    : tasks_(static_cast<size_t>(cores)), random_(seed), shuffle_(seed != 0), preempt_(preempt) {}

int Scheduler::Pick() {
  const int n = static_cast<int>(tasks_.size());
  const int start =
      shuffle_ ? static_cast<int>(random_() % static_cast<uint64_t>(n)) : (last_ < 0 ? 0 : last_);
  for (int i = 0; i < n; ++i) {
    const int c = (start + i) % n;
    Task& t = tasks_[c];
    if (!t.done && (deadlock_ || !t.ready || (*t.ready)())) return c;
  }
  return -1;
}

void Scheduler::PassBaton(std::unique_lock<std::mutex>&, int from) {
  int next = Pick();
  if (next < 0) {
    for (size_t c = 0; c < tasks_.size(); ++c) {
      if (!tasks_[c].done) blocked_.emplace_back(static_cast<int>(c), tasks_[c].waits_for);
    }
    if (!blocked_.empty()) {
      deadlock_ = true;
      next = Pick();
    }
  }
  turn_ = last_ = next;
  if (next < 0) {
    finished_ = true;
    main_wake_.notify_one();
  } else if (next != from) {
    tasks_[next].wake.notify_one();
  }
}

bool Scheduler::WaitUntil(int core, const std::function<bool()>& ready, const std::string& what) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!shuffle_ && !deadlock_ && ready()) return true;
  Task& task = tasks_[core];
  task.ready = &ready;
  task.waits_for = what;
  PassBaton(lock, core);
  task.wake.wait(lock, [&] { return turn_ == core; });
  task.ready = nullptr;
  return !deadlock_;
}

void Scheduler::MaybePreempt(int core) {
  if (!preempt_ || random_() % preempt_ != 0) return;
  std::unique_lock<std::mutex> lock(mutex_);
  if (deadlock_) return;
  PassBaton(lock, core);
  tasks_[core].wake.wait(lock, [&] { return turn_ == core; });
}

bool Scheduler::Run(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int c = 0; c < static_cast<int>(tasks_.size()); ++c) {
    threads.emplace_back([this, c, &body] {
      std::unique_lock<std::mutex> lock(mutex_);
      tasks_[c].wake.wait(lock, [&] { return turn_ == c; });
      lock.unlock();
      body(c);
      lock.lock();
      tasks_[c].done = true;
      PassBaton(lock, c);
    });
  }
  {
    std::unique_lock<std::mutex> lock(mutex_);
    PassBaton(lock, -1);
    main_wake_.wait(lock, [&] { return finished_; });
  }
  for (auto& t : threads) t.join();
  return !deadlock_;
}

}  // namespace twin
