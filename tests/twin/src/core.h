// SPDX-License-Identifier: Apache-2.0
// One AIC or AIV: memories, clocks, flags, queues. Everything that is private to a core.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gm.h"
#include "report.h"
#include "shadow.h"
#include "trace.h"
#include "twin/abi.h"

namespace twin {

class Machine;

constexpr uint32_t kLocalBytes[kLocalMems] = {196608, 524288, 65536, 65536, 131072, 1024, 7168};
constexpr uint32_t kMixReserved = 256;                // last bytes of UB and L1 in a mix kernel
constexpr uint32_t kSelectReserveBegin = 184 * 1024;  // 8 KB from here serve Select
constexpr int kEventIds = 8;
constexpr int kUserEventIds = 6;  // 6 and 7 belong to the system unless a TPipe hands them out

struct LocalMemory {
  explicit LocalMemory(uint32_t bytes) : data(bytes, 0xff), shadow(bytes), init(bytes) {}
  std::vector<uint8_t> data;
  LocalShadow shadow;
  InitBits init;
};

struct Segment {
  Access kind;
  Mem mem;
  uint64_t addr;  // local address, or offset in the GM allocation
  uint64_t bytes;
  const char* operand;
  GmAllocation* gm;
};

using PipeClock = std::array<uint32_t, kPipes>;

struct Event {
  bool set = false;
  PipeClock clock{};
  InstrId setter;
};

enum class SlotState : uint8_t { kFree, kAllocated, kEnqueued, kDequeued };

struct Slot {
  int position = 0;
  Mem mem = Mem::kUb;
  uint32_t addr = 0, bytes = 0;
  uint32_t generation = 0;
  SlotState state = SlotState::kFree;
  int ready_event = -1, free_event = -1;
  Site site;
};

struct QueueState {
  int position = 0;
  Pipe producer = Pipe::kV, consumer = Pipe::kV;
  int depth = 1, first_slot = 0, count = 0, cursor = 0;
  std::deque<int> waiting;
};

constexpr uint32_t kCacheLine = 64;

struct CacheEntry {
  std::array<uint8_t, kCacheLine> data{};
  std::array<Epoch, kCacheLine> filled{};  // last writer of each byte when the line was filled
  uint64_t dirty = 0;                      // bit per byte
  Site site;
};

struct InstrInfo {
  const char* api;
  Site site;
  uint64_t index;
};

class Core {
 public:
  Core(Machine& machine, int id, bool cube, int block, int sub, int cores);

  std::string Name() const;
  LocalMemory& Memory(Mem mem);
  bool HasMemory(Mem mem) const;
  bool HasPipe(Pipe pipe) const;
  uint32_t Capacity(Mem mem) const;

  // Order: has pipe p of core c completed instruction seq before what pipe `at` of this core does next?
  bool Knows(Pipe at, int c, Pipe p, uint32_t n) const {
    if (c == id) return p == Pipe::kS && at == Pipe::kS ? true : clock[int(at)][int(p)] >= n;
    return seen[static_cast<size_t>(c) * kPipes + static_cast<size_t>(p)] >= n;
  }
  uint32_t NextSeq(Pipe pipe, const char* api, Site site);
  PipeClock Completed(Pipe pipe) const;
  void Join(Pipe pipe, const PipeClock& other);
  std::vector<uint32_t> Snapshot(Pipe pipe) const;
  void JoinAll(const std::vector<uint32_t>& snapshot);

  InstrId Id(Pipe pipe, uint32_t n) const;
  InstrId Here(const char* api, Pipe pipe, Site site) const;
  void Fail(Rule rule, const char* api, Pipe pipe, Site site, std::string message);
  void Fail(Rule rule, InstrId where, std::string message);

  Machine& machine;
  const int id;
  const bool cube;
  const int block, sub;
  bool checking;

  uint32_t seq[kPipes] = {};
  PipeClock clock[kPipes] = {};
  std::vector<uint32_t> seen;
  std::vector<InstrInfo> log[kPipes];
  uint64_t instructions = 0;
  Trace trace;
  std::vector<GmRange> gm_ranges;

  Event events[kPipes][kPipes][kEventIds];
  uint8_t event_used[kPipes][kPipes] = {};

  std::vector<Slot> slots;
  std::vector<QueueState> queues;
  uint32_t next_addr[kLocalMems] = {};
  int open_pipe = -1, pipes_opened = 0;

  VectorMask mask;
  Site mask_site;  // of the last change of mask mode
  uint64_t compare_mask[2] = {0, 0};
  int atomic = 0;
  Site atomic_site;
  Site wait_site;                                  // of the cross-core wait that the core is in
  std::unordered_map<uint64_t, CacheEntry> cache;  // key: line address
  std::vector<Segment> segments;
  Site unit_flag_site;              // of the Mmad that last set one
  std::vector<uint8_t> unit_flags;  // per 512-byte unit of L0C: set by Mmad, cleared by Fixpipe
  std::array<std::unique_ptr<LocalMemory>, kLocalMems> memories;
};

Core& Current();
Core* CurrentOrNull();
void SetCurrent(Core* core);

// Ends a core's execution after an error that leaves nothing sensible to run.
struct Abort {};

}  // namespace twin
