#include "progress.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace ms_nsa {
namespace {

std::mutex mutex;
std::condition_variable run_ended;
int64_t running = 0, ended_runs = 0;

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
  const std::lock_guard<std::mutex> lock(mutex);
  return ended_runs;
}

void AwaitRun(int64_t ended, int64_t patience_ms) {
  const std::chrono::milliseconds patience(patience_ms);
  std::unique_lock<std::mutex> lock(mutex);
  const auto done = [&] { return ended_runs > ended; };
  while (!run_ended.wait_for(lock, patience, done) && running > 0) {
  }
}

}  // namespace ms_nsa
