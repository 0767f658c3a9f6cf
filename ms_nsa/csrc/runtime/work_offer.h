// SPDX-License-Identifier: Apache-2.0
// Lets a thread that waits for a kernel help with its work.
#pragma once

namespace ms_nsa {

// During its lifetime, one other thread may run work(context) once, through TakeWork.
class WorkOffer {
 public:
  using Work = void (*)(void* context);

  // Offers nothing if work == nullptr or another offer is open.
  WorkOffer(Work work, void* context);
  ~WorkOffer();  // waits for the thread that took the work
  WorkOffer(const WorkOffer&) = delete;
  WorkOffer& operator=(const WorkOffer&) = delete;

 private:
  friend bool TakeWork();

  const Work work_;
  void* const context_;
  bool taken_ = false, done_ = false;
};

// Does the offered work; returns false if there is none.
bool TakeWork();

}  // namespace ms_nsa
