// SPDX-License-Identifier: Apache-2.0
// Scalar access to GM through the data cache of a core, which neither DMA nor other cores see.
#include <cstring>

#include "hazards.h"
#include "machine.h"

namespace twin {

namespace {

uint64_t LineOf(const uint8_t* p) {
  return reinterpret_cast<uint64_t>(p) / kCacheLine * kCacheLine;
}

bool SameWriter(const Epoch& a, const Epoch& b) {
  return a.seq == b.seq && a.core == b.core && a.pipe == b.pipe;
}

// Last writer of every byte of the line that lies in the allocation.
std::array<Epoch, kCacheLine> Writers(GmAllocation& gm, uint64_t line) {
  std::array<Epoch, kCacheLine> writers{};
  const uint64_t base = reinterpret_cast<uint64_t>(gm.begin());
  const uint64_t begin = std::max(line, base), end = std::min(line + kCacheLine, base + gm.bytes());
  if (begin >= end) return writers;
  gm.ForEach(begin - base, end - begin, false, [&](GmCell& cell, uint64_t at, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; ++i) writers[base + at + i - line] = cell.write;
  });
  return writers;
}

void Fill(CacheEntry& entry, GmAllocation& gm, uint64_t line) {
  const uint64_t base = reinterpret_cast<uint64_t>(gm.begin());
  const uint64_t begin = std::max(line, base), end = std::min(line + kCacheLine, base + gm.bytes());
  std::memcpy(entry.data.data() + (begin - line), gm.begin() + (begin - base), end - begin);
  entry.filled = Writers(gm, line);
}

CacheEntry& Line(Core& core, GmAllocation& gm, uint64_t line) {
  auto found = core.cache.find(line);
  if (found != core.cache.end()) return found->second;
  CacheEntry& entry = core.cache[line];
  Fill(entry, gm, line);
  return entry;
}

void CheckStale(Core& core, GmAllocation& gm, uint64_t line, CacheEntry& entry, uint32_t first,
                uint32_t bytes, Site site) {
  const std::array<Epoch, kCacheLine> now = Writers(gm, line);
  for (uint32_t i = first; i < first + bytes; ++i) {
    if (entry.dirty >> i & 1 || SameWriter(now[i], entry.filled[i])) continue;
    const InstrId writer = core.machine.cores()[now[i].core]->Id(now[i].pipe, now[i].seq);
    core.Fail(Rule::kStaleRead, "GetValue", Pipe::kS, site,
              "GetValue: the data cache still holds " + gm.name() + " from before " + writer.api + " on " +
                  writer.core + " wrote it: DataCacheCleanAndInvalid is missing");
    return;
  }
}

void WriteBack(Core& core, uint64_t line, CacheEntry& entry, Site site) {
  GmAllocation* gm = core.machine.gm().Find(reinterpret_cast<const uint8_t*>(line));
  if (!gm) gm = core.machine.gm().Find(reinterpret_cast<const uint8_t*>(line + kCacheLine - 1));
  if (!gm || !entry.dirty) return;
  const std::array<Epoch, kCacheLine> now = Writers(*gm, line);
  for (uint32_t i = 0; i < kCacheLine && core.checking; ++i) {
    if (entry.dirty >> i & 1 || SameWriter(now[i], entry.filled[i])) continue;
    core.Fail(Rule::kDirtyLine, "DataCacheCleanAndInvalid", Pipe::kS, site,
              "DataCacheCleanAndInvalid: the 64-byte line also holds bytes that " +
                  core.machine.cores()[now[i].core]->Name() + " wrote meanwhile; the write-back undoes them");
    break;
  }
  const uint64_t base = reinterpret_cast<uint64_t>(gm->begin());
  Instr in("SetValue", Pipe::kS, entry.site);
  GlobalRef ref{reinterpret_cast<uint8_t*>(line), ~uint64_t{0}, false};
  for (uint32_t i = 0; i < kCacheLine; ++i) {
    if (entry.dirty >> i & 1) in.Touch(Access::kWrite, ref, "tensor", i, 1);
  }
  const uint64_t dirty = entry.dirty;
  entry.dirty = 0;
  if (!in.Issue({})) return;
  for (uint32_t i = 0; i < kCacheLine; ++i) {
    if (dirty >> i & 1) gm->begin()[line + i - base] = entry.data[i];
  }
}

}  // namespace

void GmLoad(const GlobalRef& tensor, uint64_t offset, void* out, uint32_t bytes, Site site) {
  Core& core = Current();
  Instr in("GetValue", Pipe::kS, site);
  in.Touch(Access::kRead, tensor, "tensor", offset, bytes);
  if (!in.ok()) return;
  const uint8_t* at = tensor.addr + offset;
  GmAllocation& gm = *core.machine.gm().Find(at);
  const uint64_t line = LineOf(at);
  const uint32_t first = static_cast<uint32_t>(reinterpret_cast<uint64_t>(at) - line);
  in.Require(first + bytes <= kCacheLine, Rule::kAlignment,
             "GM address must be aligned to its element of %u bytes", bytes);
  const bool hit = core.cache.count(line) > 0;
  if (hit && core.checking) CheckStale(core, gm, line, core.cache[line], first, bytes, site);
  // Bytes that this core itself wrote through the cache are initialised although memory does not have them
  // yet.
  const CacheEntry& entry = Line(core, gm, line);
  const uint64_t wanted = (bytes == 64 ? ~uint64_t{0} : (uint64_t{1} << bytes) - 1) << first;
  if ((entry.dirty & wanted) == wanted) core.segments.clear();
  if (in.Issue({Path::kScalar, bytes})) std::memcpy(out, entry.data.data() + first, bytes);
}

void GmStore(const GlobalRef& tensor, uint64_t offset, const void* value, uint32_t bytes, Site site) {
  Core& core = Current();
  Instr in("SetValue", Pipe::kS, site);
  in.Touch(Access::kWrite, tensor, "tensor", offset, bytes);
  if (!in.ok()) return;
  core.segments.clear();
  if (!in.Issue({Path::kScalar, bytes})) return;
  const uint8_t* at = tensor.addr + offset;
  const uint64_t line = LineOf(at);
  const uint32_t first = static_cast<uint32_t>(reinterpret_cast<uint64_t>(at) - line);
  CacheEntry& entry = Line(core, *core.machine.gm().Find(at), line);
  std::memcpy(entry.data.data() + first, value, bytes);
  for (uint32_t i = first; i < first + bytes; ++i) entry.dirty |= uint64_t{1} << i;
  entry.site = site;
}

void CleanCache(const GlobalRef& tensor, uint64_t offset, bool entire, bool to_gm, Site site) {
  Core& core = Current();
  if (!to_gm) return;
  if (entire) {
    for (auto& entry : core.cache) WriteBack(core, entry.first, entry.second, site);
    core.cache.clear();
  } else {
    const uint64_t line = LineOf(tensor.addr + offset);
    auto found = core.cache.find(line);
    if (found != core.cache.end()) {
      WriteBack(core, line, found->second, site);
      core.cache.erase(found);
    }
  }
  // The clean returns only when memory holds the bytes, so every pipe is ordered after it.
  PipeClock done{};
  done[static_cast<size_t>(Pipe::kS)] = core.seq[static_cast<int>(Pipe::kS)];
  for (int p = 0; p < kPipes; ++p) core.Join(static_cast<Pipe>(p), done);
}

}  // namespace twin
