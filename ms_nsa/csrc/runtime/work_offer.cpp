// SPDX-License-Identifier: Apache-2.0
#include "work_offer.h"

#include <atomic>
#include <mutex>
#include <thread>

namespace ms_nsa {
namespace {

std::mutex mutex;                             // of changes
std::atomic<WorkOffer*> open_offer{nullptr};  // read without it only to see that there is none

}  // namespace

WorkOffer::WorkOffer(Work work, void* context) : work_(work), context_(context) {
  if (work == nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex);
  if (open_offer == nullptr) open_offer = this;
}

WorkOffer::~WorkOffer() {
  if (work_ == nullptr) return;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (open_offer == this) open_offer = nullptr;
    if (!taken_) return;
  }
  while (!__atomic_load_n(&done_, __ATOMIC_ACQUIRE)) std::this_thread::yield();
}

bool TakeWork() {
  if (open_offer == nullptr) return false;
  WorkOffer* offer;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    offer = open_offer;
    if (offer == nullptr) return false;
    offer->taken_ = true;
    open_offer = nullptr;
  }
  offer->work_(offer->context_);
  __atomic_store_n(&offer->done_, true, __ATOMIC_RELEASE);  // and the offer may be gone
  return true;
}

}  // namespace ms_nsa
