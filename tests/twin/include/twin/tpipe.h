// SPDX-License-Identifier: Apache-2.0
// TPipe, TQue, TBuf: buffer allocation and the queue protocol. The state lives in the machine, per core.
#pragma once

#include "twin/tensor.h"

namespace AscendC {

struct QueuePipes {
  twin::Pipe producer, consumer;
};

// Which pipes fill and drain a queue position; the queue's two events follow from it.
constexpr QueuePipes QueuePipesOf(TPosition pos) {
  using P = twin::Pipe;
  switch (pos) {
    case TPosition::VECIN:
      return {P::kMte2, P::kV};
    case TPosition::VECOUT:
      return {P::kV, P::kMte3};
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
      return {P::kMte2, P::kMte1};
    case TPosition::A2:
    case TPosition::B2:
    case TPosition::C2:
      return {P::kMte1, P::kM};
    case TPosition::CO1:
      return {P::kM, P::kFix};
    case TPosition::C2PIPE2GM:
      return {P::kFix, P::kFix};
    default:
      return {P::kV, P::kV};
  }
}

// Queue that binds two positions: one buffer that is filled as src and drained as dst.
constexpr QueuePipes BindPipesOf(TPosition src, TPosition dst) {
  using P = twin::Pipe;
  if (src == TPosition::VECIN && dst == TPosition::VECOUT) return {P::kMte2, P::kMte3};
  return src == dst ? QueuePipesOf(src) : QueuePipes{QueuePipesOf(src).producer, QueuePipesOf(dst).consumer};
}

template <TPosition src, TPosition dst, int32_t depth, auto mask = 0>
class TQueBind {
 public:
  static constexpr TPosition position = src;
  static constexpr twin::Mem memory = MemOf(src);

  template <class T>
  LocalTensor<T> AllocTensor(TWIN_SITE) {
    return LocalTensor<T>(twin::QueueAlloc(queue_, site));
  }
  template <class T>
  void AllocTensor(LocalTensor<T>& tensor, TWIN_SITE) {
    tensor = AllocTensor<T>(site);
  }
  template <class T>
  bool EnQue(const LocalTensor<T>& tensor, TWIN_SITE) {
    twin::QueueEnque(queue_, tensor.ref(), site);
    return true;
  }
  template <class T>
  LocalTensor<T> DeQue(TWIN_SITE) {
    return LocalTensor<T>(twin::QueueDeque(queue_, site));
  }
  template <class T>
  void DeQue(LocalTensor<T>& tensor, TWIN_SITE) {
    tensor = DeQue<T>(site);
  }
  template <class T>
  void FreeTensor(LocalTensor<T>& tensor, TWIN_SITE) {
    twin::QueueFree(queue_, tensor.ref(), site);
  }
  bool HasTensorInQue() { return twin::QueueCount(queue_, false) > 0; }
  int32_t GetTensorCountInQue() { return twin::QueueCount(queue_, false); }
  bool VacantInQue() { return !twin::QueueFull(queue_); }
  bool HasIdleBuffer() { return twin::QueueCount(queue_, true) > 0; }

 private:
  friend class TPipe;
  int queue_ = -1;
};

template <TPosition pos, int32_t depth, auto mask = 0>
class TQue : public TQueBind<pos, pos, depth, mask> {};

template <TPosition pos = TPosition::LCM>
class TBuf {
 public:
  template <class T>
  LocalTensor<T> Get() {
    return LocalTensor<T>(twin::SlotRef(slot_));
  }
  template <class T>
  LocalTensor<T> Get(uint32_t len, TWIN_SITE) {
    return GetWithOffset<T>(len, 0, site);
  }
  template <class T>
  LocalTensor<T> GetWithOffset(uint32_t size, uint32_t bufOffset, TWIN_SITE) {
    return LocalTensor<T>(twin::SlotPart(slot_, bufOffset, uint64_t{size} * sizeof(T), site));
  }

 private:
  friend class TPipe;
  int slot_ = -1;
};

class TPipe {
 public:
  TPipe(TWIN_SITE) : id_(twin::PipeOpen(site)) {}
  TPipe(const TPipe&) = delete;
  TPipe& operator=(const TPipe&) = delete;
  ~TPipe() { Destroy(); }
  void Init(TWIN_SITE) { id_ = twin::PipeOpen(site); }
  void Destroy(TWIN_SITE) {
    if (id_ >= 0) twin::PipeClose(id_, true, site);
    id_ = -1;
  }
  void Reset(TWIN_SITE) { twin::PipeReset(site); }

  template <TPosition src, TPosition dst, int32_t depth, auto mask>
  bool InitBuffer(TQueBind<src, dst, depth, mask>& que, uint8_t num, uint32_t len, TWIN_SITE) {
    constexpr QueuePipes pipes = BindPipesOf(src, dst);
    const int slot = twin::InitSlots(static_cast<int>(src), MemOf(src), num, len, site);
    que.queue_ = twin::QueueOpen(static_cast<int>(src), MemOf(src), pipes.producer, pipes.consumer,
                                 depth > 0 ? depth : num, slot, num, site);
    return true;
  }
  template <TPosition pos>
  bool InitBuffer(TBuf<pos>& buf, uint32_t len, TWIN_SITE) {
    buf.slot_ = twin::InitSlots(static_cast<int>(pos), MemOf(pos), 1, len, site);
    return true;
  }

  template <HardEvent evt>
  TEventID AllocEventID(TWIN_SITE) {
    return static_cast<TEventID>(twin::AllocEvent(PipesOf(evt).src, PipesOf(evt).dst, true, site));
  }
  template <HardEvent evt>
  void ReleaseEventID(TEventID id, TWIN_SITE) {
    twin::ReleaseEvent(PipesOf(evt).src, PipesOf(evt).dst, id, site);
  }
  TEventID FetchEventID(HardEvent evt, TWIN_SITE) {
    return static_cast<TEventID>(twin::AllocEvent(PipesOf(evt).src, PipesOf(evt).dst, false, site));
  }
  template <HardEvent evt>
  TEventID FetchEventID(TWIN_SITE) {
    return FetchEventID(evt, site);
  }

 private:
  int id_;
};

}  // namespace AscendC
