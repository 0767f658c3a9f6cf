// SPDX-License-Identifier: Apache-2.0
// Orders every byte access of an instruction against the ones before it.
#pragma once

#include "core.h"

namespace twin {

class HazardChecker {
 public:
  HazardChecker(Instr& instr, uint32_t seq) : in_(instr), core_(instr.core()), seq_(seq) {}
  void Check(const Segment& segment);

 private:
  void CheckLocal(const Segment& segment);
  void CheckGm(const Segment& segment);
  void VisitGm(const Segment& segment, GmCell& cell, uint64_t at, uint32_t bytes);
  void VisitLocal(const Segment& segment, LocalCell& cell, uint64_t at, uint32_t bytes);
  bool Exempt(const Segment& segment, Pipe other) const;
  bool Ordered(const Epoch& e) const;
  void CheckInit(const Segment& segment);
  void Conflict(const Segment& segment, Rule rule, const InstrId& other, bool same_core, Pipe other_pipe,
                uint64_t at, uint32_t bytes, const char* what);

  Instr& in_;
  Core& core_;
  uint32_t seq_;
};

}  // namespace twin
