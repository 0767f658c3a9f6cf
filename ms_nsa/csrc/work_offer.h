// SPDX-License-Identifier: Apache-2.0
// Lets a thread that waits for a kernel work on it meanwhile.
#pragma once

namespace ms_nsa {

// While it lives, one other thread may run work(context), once, through TakeWork.
class WorkOffer {
 public:
  using Work = void (*)(void* context);

  // work == nullptr offers nothing; nor is anything offered while another offer is open.
  WorkOffer(Work work, void* context);
  ~WorkOffer();  // waits for the thread that has taken it
  WorkOffer(const WorkOffer&) = delete;
  WorkOffer& operator=(const WorkOffer&) = delete;

 private:
  friend bool TakeWork();

  const Work work_;
  void* const context_;
  bool taken_ = false, done_ = false;
};

// Does the work that is offered; false if there is none.
bool TakeWork();

}  // namespace ms_nsa
