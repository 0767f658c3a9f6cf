// SPDX-License-Identifier: Apache-2.0
// TPipe's allocator and the queue protocol AllocTensor -> EnQue -> DeQue -> FreeTensor.
#include <algorithm>
#include <cstring>
#include <exception>

#include "machine.h"

namespace twin {

namespace {

constexpr size_t kMaxBuffers = 64;
constexpr int kMaxLivePerPosition = 8;
// On an AIC core TPipe keeps M_MTE1 ids 0 to 2 set from construction to Destroy (for the Matmul objects).
constexpr int kMatmulEvents = 3;

LocalRef RefOf(const Core& core, int index) {
  const Slot& s = core.slots[static_cast<size_t>(index)];
  LocalRef r;
  r.mem = s.mem;
  r.position = static_cast<uint8_t>(s.position);
  r.buffer = static_cast<int16_t>(index);
  r.generation = s.generation;
  r.addr = s.addr;
  r.bytes = s.bytes;
  return r;
}

void Poison(Core& core, const Slot& s) {
  if (!core.HasMemory(s.mem)) return;
  LocalMemory& memory = core.Memory(s.mem);
  if (s.addr + s.bytes > memory.data.size()) return;
  std::memset(memory.data.data() + s.addr, 0xff, s.bytes);
  memory.init.Set(s.addr, s.bytes, false);
}

void QueueFail(Core& core, const char* api, Site site, const std::string& text) {
  core.Fail(Rule::kQueue, api, Pipe::kS, site, std::string(api) + ": " + text);
}

// The slot of a tensor of the queue, or nullptr after a report.
Slot* SlotOf(Core& core, const QueueState& q, const LocalRef& t, const char* api, Site site) {
  if (t.buffer < q.first_slot || t.buffer >= q.first_slot + q.count) {
    QueueFail(core, api, site, "the tensor does not belong to this queue");
    return nullptr;
  }
  Slot& slot = core.slots[static_cast<size_t>(t.buffer)];
  if (slot.generation == t.generation) return &slot;
  QueueFail(core, api, site, "the tensor was freed before");
  return nullptr;
}

// Flags between the two pipes of a queue have an id of their own; within one pipe there are none.
int SetOwnEvent(Pipe src, Pipe dst, Site site) {
  const int id = AllocEvent(src, dst, true, site);
  SetEvent(src, dst, id, site);
  return id;
}

void WaitOwnEvent(Pipe src, Pipe dst, int& id, Site site) {
  if (src != dst) {
    WaitEvent(src, dst, id, site);
    ReleaseEvent(src, dst, id, site);
  }
  id = -1;
}

QueueState& Queue(Core& core, int queue, const char* api, Site site) {
  if (queue < 0 || queue >= static_cast<int>(core.queues.size())) {
    QueueFail(core, api, site, "InitBuffer was not called for this queue");
    throw Abort{};
  }
  return core.queues[static_cast<size_t>(queue)];
}

void ResetPools(Core& core) {
  for (int m = 0; m < kLocalMems; ++m) core.next_addr[m] = 0;
  for (auto& row : core.event_used) std::fill(std::begin(row), std::end(row), uint8_t{0});
}

}  // namespace

int PipeOpen(Site site) {
  Core& core = Current();
  if (core.open_pipe >= 0) QueueFail(core, "TPipe", site, "another TPipe is alive; Destroy it first");
  core.open_pipe = core.pipes_opened++;
  ResetPools(core);
  if (core.cube) {
    for (int id = 0; id < kMatmulEvents; ++id) {
      AllocEvent(Pipe::kM, Pipe::kMte1, true, site);
      SetEvent(Pipe::kM, Pipe::kMte1, id, site);
    }
  }
  return core.open_pipe;
}

void PipeReset(Site site) {
  Core& core = Current();
  for (size_t i = 0; i < core.slots.size(); ++i) {
    Slot& s = core.slots[i];
    if (s.free_event >= 0 && s.state == SlotState::kFree) {
      for (const QueueState& q : core.queues) {
        if (static_cast<int>(i) < q.first_slot || static_cast<int>(i) >= q.first_slot + q.count) continue;
        if (q.producer != q.consumer) WaitEvent(q.consumer, q.producer, s.free_event, site);
      }
      s.free_event = -1;
    }
    ++s.generation;
  }
  ResetPools(core);
}

void PipeClose(int pipe_id, bool barrier, Site site) {
  Core* running = CurrentOrNull();
  if (!running || running->open_pipe != pipe_id) return;
  Core& core = *running;
  if (std::uncaught_exceptions() > 0) return;
  for (const QueueState& q : core.queues) {
    for (int i = q.first_slot; i < q.first_slot + q.count; ++i) {
      Slot& s = core.slots[static_cast<size_t>(i)];
      if (s.state != SlotState::kFree) {
        QueueFail(core, "TPipe", s.site, "a tensor of this queue is never freed (FreeTensor)");
        s.state = SlotState::kFree;
      } else if (s.free_event >= 0 && q.producer != q.consumer) {
        WaitEvent(q.consumer, q.producer, s.free_event, site);
      }
      s.free_event = -1;
    }
  }
  for (Slot& s : core.slots) ++s.generation;
  core.queues.clear();
  if (core.cube) {
    for (int id = 0; id < kMatmulEvents; ++id) {
      WaitEvent(Pipe::kM, Pipe::kMte1, id, site);
      ReleaseEvent(Pipe::kM, Pipe::kMte1, id, site);
    }
  }
  core.open_pipe = -1;
  if (barrier) Barrier(Pipe::kCount, site);
}

int InitSlots(int position, Mem mem, uint32_t count, uint32_t bytes, Site site) {
  Core& core = Current();
  const int first = static_cast<int>(core.slots.size());
  const uint32_t each = (bytes + kGranule - 1) / kGranule * kGranule;
  uint32_t& next = core.next_addr[static_cast<int>(mem)];
  size_t live = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Slot s;
    s.position = position;
    s.mem = mem;
    s.addr = next;
    s.bytes = each;
    s.site = site;
    next += each;
    core.slots.push_back(s);
    Poison(core, s);
  }
  live = core.slots.size();
  if (live > kMaxBuffers) {
    QueueFail(core, "InitBuffer", site,
              "a kernel has at most 64 buffers, this is number " + std::to_string(live));
  }
  if (next > core.Capacity(mem)) {
    core.Fail(Rule::kCapacity, "InitBuffer", Pipe::kS, site,
              std::string("InitBuffer: ") + MemName(mem) + " must hold at most " +
                  std::to_string(core.Capacity(mem)) + " bytes, got " + std::to_string(next));
    if (core.HasMemory(mem)) throw Abort{};
  }
  return first;
}

LocalRef SlotRef(int first_slot) {
  Core& core = Current();
  if (first_slot < 0 || first_slot >= static_cast<int>(core.slots.size())) return LocalRef{};
  return RefOf(core, first_slot);
}

LocalRef SlotPart(int slot, uint32_t offset, uint64_t bytes, Site site) {
  LocalRef part = SlotRef(slot);
  if (part.buffer >= 0 && offset + bytes > part.bytes) {
    Current().Fail(Rule::kBounds, "TBuf", Pipe::kS, site,
                   std::string("TBuf: a tensor of ") + MemName(part.mem) + " must end within its buffer of " +
                       std::to_string(part.bytes) + " bytes, got " + std::to_string(offset + bytes));
  }
  part.addr += offset;
  part.bytes = static_cast<uint32_t>(bytes);
  return part;
}

LocalRef RawRef(int position, Mem mem, uint32_t addr, uint32_t bytes, Site site) {
  Core& core = Current();
  if (addr + uint64_t{bytes} > core.Capacity(mem)) {
    core.Fail(Rule::kCapacity, "LocalTensor", Pipe::kS, site,
              std::string("LocalTensor: end must be at most ") + std::to_string(core.Capacity(mem)) + " in " +
                  MemName(mem) + ", got " + std::to_string(addr + uint64_t{bytes}));
    throw Abort{};
  }
  core.next_addr[static_cast<int>(mem)] = std::max(core.next_addr[static_cast<int>(mem)], addr + bytes);
  for (size_t i = 0; i < core.slots.size(); ++i) {
    const Slot& s = core.slots[i];
    if (s.mem == mem && s.addr == addr && s.bytes == bytes && s.position == position)
      return RefOf(core, int(i));
  }
  Slot s;
  s.position = position;
  s.mem = mem;
  s.addr = addr;
  s.bytes = bytes;
  s.site = site;
  core.slots.push_back(s);
  return RefOf(core, static_cast<int>(core.slots.size()) - 1);
}

int QueueOpen(int position, Mem, Pipe producer, Pipe consumer, int depth, int first_slot, int count, Site) {
  Core& core = Current();
  QueueState q;
  q.position = position;
  q.producer = producer;
  q.consumer = consumer;
  q.depth = depth;
  q.first_slot = first_slot;
  q.count = count;
  core.queues.push_back(q);
  return static_cast<int>(core.queues.size()) - 1;
}

LocalRef QueueAlloc(int queue, Site site) {
  Core& core = Current();
  QueueState& q = Queue(core, queue, "AllocTensor", site);
  int chosen = -1;
  for (int i = 0; i < q.count && chosen < 0; ++i) {
    const int slot = q.first_slot + (q.cursor + i) % q.count;
    if (core.slots[static_cast<size_t>(slot)].state == SlotState::kFree) chosen = slot;
  }
  if (chosen < 0) {
    QueueFail(core, "AllocTensor", site,
              "all " + std::to_string(q.count) + " buffers of the queue are in use: the core hangs here");
    throw Abort{};
  }
  q.cursor = (chosen - q.first_slot + 1) % q.count;
  Slot& s = core.slots[static_cast<size_t>(chosen)];
  if (s.free_event >= 0) WaitOwnEvent(q.consumer, q.producer, s.free_event, site);
  s.state = SlotState::kAllocated;
  s.site = site;
  int live = 0;
  for (const Slot& other : core.slots)
    live += other.position == s.position && other.state != SlotState::kFree;
  if (live > kMaxLivePerPosition) {
    QueueFail(core, "AllocTensor", site,
              "at most 8 tensors of a position may be live, this is number " + std::to_string(live));
  }
  return RefOf(core, chosen);
}

void QueueEnque(int queue, const LocalRef& tensor, Site site) {
  Core& core = Current();
  QueueState& q = Queue(core, queue, "EnQue", site);
  Slot* slot = SlotOf(core, q, tensor, "EnQue", site);
  if (!slot) return;
  if (slot->state != SlotState::kAllocated && slot->state != SlotState::kDequeued) {
    QueueFail(core, "EnQue", site, "the tensor must come from AllocTensor or DeQue");
    return;
  }
  if (static_cast<int>(q.waiting.size()) >= q.depth) {
    QueueFail(core, "EnQue", site, "the queue has depth " + std::to_string(q.depth) + " and is full");
  }
  slot->state = SlotState::kEnqueued;
  q.waiting.push_back(tensor.buffer);
  if (q.producer == q.consumer) {
    Barrier(q.producer, site);
    return;
  }
  slot->ready_event = SetOwnEvent(q.producer, q.consumer, site);
}

LocalRef QueueDeque(int queue, Site site) {
  Core& core = Current();
  QueueState& q = Queue(core, queue, "DeQue", site);
  if (q.waiting.empty()) {
    QueueFail(core, "DeQue", site, "the queue is empty");
    throw Abort{};
  }
  const int slot = q.waiting.front();
  q.waiting.pop_front();
  Slot& s = core.slots[static_cast<size_t>(slot)];
  s.state = SlotState::kDequeued;
  WaitOwnEvent(q.producer, q.consumer, s.ready_event, site);
  return RefOf(core, slot);
}

void QueueFree(int queue, const LocalRef& tensor, Site site) {
  Core& core = Current();
  QueueState& q = Queue(core, queue, "FreeTensor", site);
  Slot* slot = SlotOf(core, q, tensor, "FreeTensor", site);
  if (!slot) return;
  if (slot->state == SlotState::kFree || slot->state == SlotState::kEnqueued) {
    QueueFail(
        core, "FreeTensor", site,
        slot->state == SlotState::kFree ? "the tensor is free already" : "the tensor is still enqueued");
    return;
  }
  slot->state = SlotState::kFree;
  ++slot->generation;
  Poison(core, *slot);
  if (q.producer != q.consumer) slot->free_event = SetOwnEvent(q.consumer, q.producer, site);
}

bool QueueFull(int queue) {
  const QueueState& q = Queue(Current(), queue, "TQue", {});
  return static_cast<int>(q.waiting.size()) >= q.depth;
}

int QueueCount(int queue, bool idle) {
  Core& core = Current();
  QueueState& q = Queue(core, queue, "TQue", {});
  if (!idle) return static_cast<int>(q.waiting.size());
  int n = 0;
  for (int i = 0; i < q.count; ++i)
    n += core.slots[static_cast<size_t>(q.first_slot + i)].state == SlotState::kFree;
  return n;
}

}  // namespace twin
