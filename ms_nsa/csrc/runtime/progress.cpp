// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "work_offer.h"

namespace ms_nsa {
namespace {

std::mutex mutex;
std::condition_variable run_ended;
int64_t running = 0;
std::atomic<int64_t> ended_runs{0};

// Longer than MindSpore takes to start a kernel, and than a short call's work takes.
constexpr std::chrono::microseconds kWakeTime(1000);
constexpr int kLooksPerTime = 64;

}  // namespace

KernelRun::KernelRun() {
  const std::lock_guard<std::mutex> lock(mutex);
  ++running;
}

KernelRun::~KernelRun() {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    --running;
    ++ended_runs;
  }
  run_ended.notify_all();
}

int64_t EndedRuns() {
  return ended_runs;
}

void AwaitRun(int64_t ended, int64_t patience_ms) {
  const std::chrono::milliseconds patience(patience_ms);
  std::unique_lock<std::mutex> lock(mutex);
  const auto done = [&] { return ended_runs > ended; };
  while (!run_ended.wait_for(lock, patience, done) && running > 0) {
  }
}

void JoinRun(int64_t ended, int64_t patience_ms) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kLooksPerTime; ++i) {
      TakeWork();
      if (ended_runs > ended) return;
    }
  } while (std::chrono::steady_clock::now() - start < kWakeTime);
  AwaitRun(ended, patience_ms);
}

}  // namespace ms_nsa
