// SPDX-License-Identifier: Apache-2.0
// The float environment that kernels are specified for: round to nearest, keep subnormals, no traps.
#pragma once

#include <cfenv>

namespace ms_nsa {

// Sets it for the calling thread and restores the thread's own later. MindSpore's graph threads flush
// subnormals, and Python's thread may use another rounding mode. Without this class, the bits of a row would
// depend on the thread that computes it.
class FloatEnvironment {
 public:
  FloatEnvironment() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~FloatEnvironment() { std::fesetenv(&callers_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  std::fenv_t callers_;
};

}  // namespace ms_nsa
