// SPDX-License-Identifier: Apache-2.0
#include "hazards.h"

#include <algorithm>

#include "machine.h"

namespace twin {

namespace {

bool Writes(Access kind) {
  return kind == Access::kWrite || kind == Access::kStore;
}

std::string Bytes(uint64_t begin, uint64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

}  // namespace

void HazardChecker::Check(const Segment& segment) {
  if (segment.kind == Access::kRead) CheckInit(segment);
  if (segment.mem == Mem::kGm) {
    CheckGm(segment);
  } else {
    CheckLocal(segment);
  }
}

void HazardChecker::CheckInit(const Segment& s) {
  const InitBits& init = s.gm ? s.gm->init() : core_.Memory(s.mem).init;
  const uint64_t first = init.FirstClear(s.addr, s.bytes);
  if (first == s.bytes) return;
  Report r;
  r.rule = Rule::kUninit;
  r.where = core_.Id(in_.pipe(), seq_);
  r.mem = s.mem;
  r.has_bytes = true;
  r.begin = s.addr + first;
  r.end = s.addr + s.bytes;
  r.buffer = s.gm ? s.gm->name() : "";
  r.message = std::string(s.operand) + " reads " + MemName(s.mem) + " byte " + std::to_string(r.begin) +
              " that nothing has written";
  core_.machine.reports().Add(std::move(r));
}

// M accumulating into a tile of enough fractals is ordered by the cube itself; the unit flag orders M and
// FIX.
bool HazardChecker::Exempt(const Segment& s, Pipe other) const {
  if (in_.pipe() == Pipe::kS && other == Pipe::kS) return true;
  if (s.mem != Mem::kL0c) return false;
  if (in_.unit_flag_ && (other == Pipe::kM || other == Pipe::kFix) && other != in_.pipe()) return true;
  return in_.accumulate_ && other == Pipe::kM && in_.pipe() == Pipe::kM;
}

void HazardChecker::Conflict(const Segment& s, Rule rule, const InstrId& other, bool same_core,
                             Pipe other_pipe, uint64_t at, uint32_t bytes, const char* what) {
  Report r;
  r.rule = !same_core                                         ? Rule::kGmRace
           : in_.pipe() == Pipe::kS || other_pipe == Pipe::kS ? Rule::kScalarHazard
                                                              : rule;
  r.where = core_.Id(in_.pipe(), seq_);
  r.has_other = true;
  r.other = other;
  r.has_bytes = true;
  r.mem = s.mem;
  r.begin = at;
  r.end = at + bytes;
  r.buffer = s.gm ? s.gm->name() : "";
  std::string cure;
  if (!same_core) {
    cure = "no cross-core flag or SyncAll orders the two cores";
  } else if (other_pipe == in_.pipe()) {
    cure = std::string("PipeBarrier<PIPE_") + PipeName(in_.pipe()) + "> is missing between them";
  } else {
    cure = std::string("SetFlag/WaitFlag<HardEvent::") + PipeName(other_pipe) + "_" + PipeName(in_.pipe()) +
           "> is missing between them";
  }
  r.message = std::string(s.operand) + " " + what + " of " + MemName(s.mem) + " " + Bytes(r.begin, r.end) +
              " is not ordered after " + other.api + " on " + other.core + " " + PipeName(other_pipe) + ": " +
              cure;
  core_.machine.reports().Add(std::move(r));
}

void HazardChecker::CheckLocal(const Segment& s) {
  const bool writes = Writes(s.kind);
  core_.Memory(s.mem).shadow.ForEach(
      s.addr, s.bytes, writes,
      [&](LocalCell& cell, uint64_t at, uint32_t bytes) { VisitLocal(s, cell, at, bytes); });
}

void HazardChecker::VisitLocal(const Segment& s, LocalCell& cell, uint64_t at, uint32_t bytes) {
  const Pipe pipe = in_.pipe();
  const PipeClock& known = core_.clock[static_cast<int>(pipe)];
  const bool writes = Writes(s.kind);
  const bool own = cell.write_pipe == pipe && cell.write_seq == seq_;
  if (!own && cell.write_seq > known[static_cast<size_t>(cell.write_pipe)] && !Exempt(s, cell.write_pipe)) {
    Conflict(s, writes ? Rule::kHazardWaw : Rule::kHazardRaw, core_.Id(cell.write_pipe, cell.write_seq), true,
             cell.write_pipe, at, bytes, writes ? "write" : "read");
  }
  if (!writes) {
    cell.read_seq[static_cast<size_t>(pipe)] = seq_;
    return;
  }
  for (int p = 0; p < kPipes; ++p) {
    const Pipe reader = static_cast<Pipe>(p);
    const bool self = reader == pipe && cell.read_seq[p] == seq_;
    if (!self && cell.read_seq[p] > known[p] && !Exempt(s, reader)) {
      Conflict(s, Rule::kHazardWar, core_.Id(reader, cell.read_seq[p]), true, reader, at, bytes, "overwrite");
    }
  }
  cell.read_seq.fill(0);
  cell.write_seq = seq_;
  cell.write_pipe = pipe;
}

bool HazardChecker::Ordered(const Epoch& e) const {
  if (e.seq == 0) return true;
  if (e.core == core_.id && e.pipe == in_.pipe() && e.seq == seq_) return true;
  return core_.Knows(in_.pipe(), e.core, e.pipe, e.seq);
}

void HazardChecker::CheckGm(const Segment& s) {
  s.gm->ForEach(s.addr, s.bytes, Writes(s.kind),
                [&](GmCell& cell, uint64_t at, uint32_t bytes) { VisitGm(s, cell, at, bytes); });
}

void HazardChecker::VisitGm(const Segment& s, GmCell& cell, uint64_t at, uint32_t bytes) {
  const bool writes = Writes(s.kind);
  auto conflict = [&](const Epoch& e, Rule rule, const char* what) {
    const Core& other = *core_.machine.cores()[e.core];
    Conflict(s, rule, other.Id(e.pipe, e.seq), e.core == core_.id, e.pipe, at, bytes, what);
  };
  if (!Ordered(cell.write))
    conflict(cell.write, writes ? Rule::kHazardWaw : Rule::kHazardRaw, writes ? "write" : "read");
  const Epoch mine{seq_, static_cast<uint16_t>(core_.id), in_.pipe(),
                   s.kind == Access::kAtomic ? Access::kAtomic : Access::kRead};
  bool placed = false;
  // Reads do not conflict with reads, nor atomics with atomics; everything else must be ordered.
  auto visit = [&](Epoch& e) {
    if (e.seq == 0) return;
    const bool compatible = !writes && e.kind == mine.kind;
    if (!compatible && !Ordered(e)) {
      conflict(e,
               e.kind == Access::kRead ? Rule::kHazardWar
               : writes                ? Rule::kHazardWaw
                                       : Rule::kHazardRaw,
               e.kind == Access::kRead               ? "overwrite"
               : writes || s.kind == Access::kAtomic ? "write"
                                                     : "read");
    }
    if (!writes && !placed && e.core == mine.core && e.pipe == mine.pipe && e.kind == mine.kind) {
      e.seq = seq_;
      placed = true;
    }
  };
  for (Epoch& e : cell.others) visit(e);
  if (cell.more >= 0) {
    for (Epoch& e : s.gm->Overflow(cell)) visit(e);
  }
  if (writes) {
    cell.others = {};
    s.gm->DropOverflow(cell);
    cell.write = {seq_, static_cast<uint16_t>(core_.id), in_.pipe(), Access::kWrite};
    return;
  }
  if (placed) return;
  for (Epoch& e : cell.others) {
    if (e.seq == 0) {
      e = mine;
      return;
    }
  }
  s.gm->Overflow(cell).push_back(mine);
}

}  // namespace twin
