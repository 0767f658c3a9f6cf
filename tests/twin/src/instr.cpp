// SPDX-License-Identifier: Apache-2.0
// An API call on its way through the machine: operand checks, hazards, trace.
#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "hazards.h"
#include "machine.h"

namespace twin {

Instr::Instr(const char* api, Pipe pipe, Site site)
    : core_(&Current()), api_(api), site_(site), pipe_(pipe), checking_(core_->checking) {
  core_->segments.clear();
  core_->machine.scheduler().MaybePreempt(core_->id);
  if (!core_->HasPipe(pipe)) {
    Require(false, Rule::kCore, "%s runs on pipe %s, which an %s core does not have", api, PipeName(pipe),
            core_->cube ? "AIC" : "AIV");
  }
}

bool Instr::Require(bool ok, Rule rule, const char* format, ...) {
  if (ok) return true;
  ok_ = false;
  char text[400];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  core_->Fail(rule, api_, pipe_, site_, std::string(api_) + ": " + text);
  return false;
}

void Instr::In(const LocalRef& t, const char* operand, unsigned allowed, unsigned align) {
  if (!(allowed & MemBit(t.mem))) {
    Require(false, Rule::kPosition, "%s is in %s, which this form cannot reach", operand, MemName(t.mem));
    return;
  }
  if (!core_->HasMemory(t.mem)) {
    Require(false, Rule::kCore, "%s is in %s, which an %s core does not have", operand, MemName(t.mem),
            core_->cube ? "AIC" : "AIV");
    return;
  }
  Require(t.addr % align == 0, Rule::kAlignment, "%s address %u in %s must be a multiple of %u bytes",
          operand, t.addr, MemName(t.mem), align);
}

void Instr::CheckRegion(const LocalRef& t, const char* operand, uint64_t offset, uint64_t bytes) {
  const uint64_t begin = t.addr + offset, end = begin + bytes;
  if (t.buffer < 0 || t.buffer >= static_cast<int>(core_->slots.size())) {
    Require(false, Rule::kBounds, "%s has no buffer: its tensor was never allocated", operand);
    return;
  }
  const Slot& slot = core_->slots[static_cast<size_t>(t.buffer)];
  Require(begin >= slot.addr && end <= slot.addr + slot.bytes && end <= kLocalBytes[static_cast<int>(t.mem)],
          Rule::kBounds, "%s touches %s [%llu, %llu) outside its buffer [%u, %u)", operand, MemName(t.mem),
          static_cast<unsigned long long>(begin), static_cast<unsigned long long>(end), slot.addr,
          slot.addr + slot.bytes);
  Require(offset + bytes <= t.bytes, Rule::kBounds,
          "%s touches %llu bytes of a LocalTensor that has %u (%s [%llu, %llu))", operand,
          static_cast<unsigned long long>(offset + bytes), t.bytes, MemName(t.mem),
          static_cast<unsigned long long>(begin), static_cast<unsigned long long>(end));
  Require(slot.generation == t.generation, Rule::kUseAfterFree, "%s was freed (FreeTensor) before this use",
          operand);
}

void Instr::Touch(Access kind, const LocalRef& t, const char* operand, uint64_t offset, uint64_t bytes) {
  if (!ok_ || bytes == 0) return;
  auto& segments = core_->segments;
  const uint64_t addr = t.addr + offset;
  if (!segments.empty()) {
    Segment& last = segments.back();
    if (last.operand == operand && last.kind == kind && last.mem == t.mem && last.addr + last.bytes == addr) {
      CheckRegion(t, operand, offset, bytes);
      last.bytes += bytes;
      return;
    }
  }
  CheckRegion(t, operand, offset, bytes);
  segments.push_back({kind, t.mem, addr, bytes, operand, nullptr});
}

void Instr::Touch(Access kind, const GlobalRef& t, const char* operand, uint64_t offset, uint64_t bytes) {
  if (!ok_ || bytes == 0) return;
  const uint8_t* at = reinterpret_cast<const uint8_t*>(reinterpret_cast<uintptr_t>(t.addr) + offset);
  GmAllocation* gm = core_->machine.gm().Find(at);
  if (!gm) {
    Require(false, Rule::kBounds, "%s address %p is in no GM tensor", operand, static_cast<const void*>(at));
    return;
  }
  const int64_t begin = at - gm->begin();
  if (!Require(
          begin >= 0 && static_cast<uint64_t>(begin) + bytes <= gm->bytes(), Rule::kBounds,
          "%s touches bytes [%lld, %lld) of GM tensor %s, which has %llu%s", operand,
          static_cast<long long>(begin), static_cast<long long>(begin) + static_cast<long long>(bytes),
          gm->name().c_str(), static_cast<unsigned long long>(gm->bytes()),
          begin < 0 && gm->argument() != gm->begin() ? " (the bytes before it belong to the system)" : "")) {
    return;
  }
  Require(offset + bytes <= t.limit, Rule::kBounds,
          "%s touches bytes up to %llu of a GlobalTensor that SetGlobalBuffer limited to %llu", operand,
          static_cast<unsigned long long>(offset + bytes), static_cast<unsigned long long>(t.limit));
  auto& segments = core_->segments;
  if (!segments.empty()) {
    Segment& last = segments.back();
    if (last.gm == gm && last.operand == operand && last.kind == kind &&
        last.addr + last.bytes == static_cast<uint64_t>(begin)) {
      last.bytes += bytes;
      return;
    }
  }
  segments.push_back({kind, Mem::kGm, static_cast<uint64_t>(begin), bytes, operand, gm});
}

namespace {
// GM bytes that this core wrote through its scalar cache and has not cleaned are invisible to DMA.
void CheckDirty(Instr& in, uint32_t seq, const Segment& s) {
  Core& core = in.core();
  if (!s.gm || core.cache.empty() || in.pipe() == Pipe::kS) return;
  const uint64_t base = reinterpret_cast<uint64_t>(s.gm->begin()) + s.addr;
  for (const auto& entry : core.cache) {
    if (!entry.second.dirty || entry.first + kCacheLine <= base || entry.first >= base + s.bytes) continue;
    core.Fail(Rule::kDirtyLine, core.Id(in.pipe(), seq),
              std::string(s.operand) + " touches GM that SetValue (line " +
                  std::to_string(entry.second.site.line) +
                  ") left in the data cache: DataCacheCleanAndInvalid is missing");
    return;
  }
}
}  // namespace

namespace {

void RecordMemory(Core& core, TraceOp& op) {
  op.gm_first = static_cast<uint32_t>(core.gm_ranges.size());
  for (const Segment& s : core.segments) {
    if (s.gm) {
      const uint64_t begin = reinterpret_cast<uint64_t>(s.gm->begin()) + s.addr;
      core.gm_ranges.push_back({begin, begin + s.bytes});
      op.atomic |= s.kind == Access::kAtomic;
    } else if (s.mem == Mem::kL0c) {
      const uint32_t begin = static_cast<uint32_t>(s.addr), end = begin + static_cast<uint32_t>(s.bytes);
      op.l0c_begin = op.l0c_end ? std::min(op.l0c_begin, begin) : begin;
      op.l0c_end = std::max(op.l0c_end, end);
    }
  }
  op.gm_count = static_cast<uint32_t>(core.gm_ranges.size()) - op.gm_first;
}

}  // namespace

bool Instr::Issue(const Cost& cost) {
  Core& core = *core_;
  if (!ok_) return false;
  const uint32_t seq = core.NextSeq(pipe_, api_, site_);
  if (core.machine.options().trace) {
    TraceOp op;
    op.pipe = pipe_;
    op.api = api_;
    op.site = site_;
    op.cost = cost;
    op.cost.mask_sets = mask_sets_;
    op.unit_flag = unit_flag_;
    RecordMemory(core, op);
    core.trace.push_back(op);
  }
  if (!checking_) return true;
  HazardChecker checker(*this, seq);
  for (const Segment& s : core.segments) {
    CheckDirty(*this, seq, s);
    if (s.kind == Access::kRead || s.kind == Access::kLoad) checker.Check(s);
  }
  for (const Segment& s : core.segments) {
    if (s.kind == Access::kRead || s.kind == Access::kLoad) continue;
    checker.Check(s);
    InitBits& init = s.gm ? s.gm->init() : core.Memory(s.mem).init;
    if (s.kind == Access::kWrite) init.Set(s.addr, s.bytes, true);
    if (s.kind == Access::kAtomic && !init.All(s.addr, s.bytes)) {
      core.Fail(Rule::kUninit, core.Id(pipe_, seq),
                std::string(s.operand) + " accumulates into GM that nothing has written");
    }
  }
  return true;
}

}  // namespace twin
