// SPDX-License-Identifier: Apache-2.0
// What a core knows about itself: tensors' sizes, queues, event ids, tiling, indices, and how a mix kernel
// meets in SyncAll. Every answer is a number in GM, which the test knows.
#include "kernel_operator.h"

using namespace AscendC;

struct StateTiling {
  uint32_t first;
  int32_t second;
};
REGISTER_TILING_DEFAULT(StateTiling);

constexpr uint32_t kNumbers = 64, kTile = 128;

// Numbers in the order in which they are put down.
class Answers {
 public:
  __aicore__ inline explicit Answers(GM_ADDR out) { out_.SetGlobalBuffer((__gm__ int32_t*)out, kNumbers); }
  __aicore__ inline void Put(int64_t value) { out_.SetValue(count_++, static_cast<int32_t>(value)); }
  __aicore__ inline ~Answers() {
    DataCacheCleanAndInvalid<int32_t, CacheLine::ENTIRE_DATA_CACHE, DcciDst::CACHELINE_OUT>(out_);
  }

 private:
  GlobalTensor<int32_t> out_;
  uint64_t count_ = 0;
};

class VectorState {
 public:
  __aicore__ inline VectorState(GM_ADDR x, GM_ADDR out, GM_ADDR numbers) : answers_(numbers) {
    x_.SetGlobalBuffer((__gm__ float*)x, kTile);
    out_.SetGlobalBuffer((__gm__ float*)out, 2 * kTile);
  }

  __aicore__ inline void Run() {
    TPipe pipe;
    Queue(pipe);
    Tensors();
    Events(pipe);
    pipe.Reset();
    Again(pipe, 0);
    pipe.Destroy();
    pipe.Init();
    Again(pipe, kTile);
  }

 private:
  __aicore__ inline void PutQueue() {
    answers_.Put(queue_.HasTensorInQue());
    answers_.Put(queue_.GetTensorCountInQue());
    answers_.Put(queue_.VacantInQue());
    answers_.Put(queue_.HasIdleBuffer());
  }

  __aicore__ inline void Queue(TPipe& pipe) {
    pipe.InitBuffer(queue_, 2, kTile * sizeof(float));
    PutQueue();
    LocalTensor<float> one = queue_.AllocTensor<float>();
    LocalTensor<float> two = queue_.AllocTensor<float>();
    PutQueue();
    queue_.EnQue(one);
    queue_.EnQue(two);
    PutQueue();
    one = queue_.DeQue<float>();
    PutQueue();
    two = queue_.DeQue<float>();
    queue_.FreeTensor(one);
    queue_.FreeTensor(two);
    PutQueue();
  }

  __aicore__ inline void Tensors() {
    LocalTensor<float> t = queue_.AllocTensor<float>();
    answers_.Put(t.GetSize());
    answers_.Put(t[kTile / 4].GetSize());
    answers_.Put(t.ReinterpretCast<half>().GetSize());
    answers_.Put(t.GetPosition() == static_cast<int32_t>(TPosition::VECIN));
    answers_.Put((uint64_t)t[8].GetPhyAddr() - (uint64_t)t.GetPhyAddr());
    t.SetSize(24);
    answers_.Put(t.GetSize());
    answers_.Put(x_.GetSize());
    answers_.Put(x_[kTile / 2].GetSize());
    queue_.FreeTensor(t);
  }

  __aicore__ inline void Events(TPipe& pipe) {
    const TEventID held = pipe.AllocEventID<HardEvent::S_V>();
    const TEventID next = pipe.FetchEventID(HardEvent::S_V);
    answers_.Put(held != next);
    answers_.Put(next == pipe.FetchEventID(HardEvent::S_V));
    pipe.ReleaseEventID<HardEvent::S_V>(held);
    answers_.Put(pipe.AllocEventID<HardEvent::S_V>() == held);
    pipe.ReleaseEventID<HardEvent::S_V>(held);
  }

  // A pipe that starts over hands out the same bytes.
  __aicore__ inline void Again(TPipe& pipe, uint32_t at) {
    pipe.InitBuffer(buffer_, 184 * 1024);
    LocalTensor<float> t = buffer_.Get<float>();
    answers_.Put((uint64_t)t.GetPhyAddr());
    DataCopy(t, x_, kTile);
    SetFlag<HardEvent::MTE2_MTE3>(0);
    WaitFlag<HardEvent::MTE2_MTE3>(0);
    SetAtomicAdd<half>();
    DisableDmaAtomic();
    DataCopy(out_[at], t, kTile);
  }

  Answers answers_;
  GlobalTensor<float> x_, out_;
  TQue<TPosition::VECIN, 2> queue_;
  TBuf<TPosition::VECIN> buffer_;
};

extern "C" __global__ __aicore__ void state_vector(GM_ADDR x, GM_ADDR out, GM_ADDR numbers) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  if ASCEND_IS_AIV {
    VectorState state(x, out, numbers);
    state.Run();
  }
}

// Tiling in its three forms; the key chooses the code and the kernel type.
extern "C" __global__ __aicore__ void state_tiling(GM_ADDR numbers, GM_ADDR tiling) {
  KERNEL_TASK_TYPE(7, KERNEL_TYPE_AIV_ONLY);
  KERNEL_TASK_TYPE(8, KERNEL_TYPE_MIX_AIV_1_0);
  if ASCEND_IS_AIV {
    Answers answers(numbers);
    GET_TILING_DATA(whole, tiling);
    GET_TILING_DATA_MEMBER(StateTiling, second, member, tiling);
    answers.Put(whole.first);
    answers.Put(member);
    if (TILING_KEY_IS(7)) {
      answers.Put(70);
    } else if (TILING_KEY_IS(8)) {
      answers.Put(80);
    }
  }
}

// Reads the same rows twice: with the hint the second time comes from HBM again.
extern "C" __global__ __aicore__ void state_cache(GM_ADDR x, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(StateTiling, data, tiling);
  if ASCEND_IS_AIV {
    TPipe pipe;
    TBuf<TPosition::VECIN> buffer;
    pipe.InitBuffer(buffer, 65536);
    GlobalTensor<float> gm;
    gm.SetGlobalBuffer((__gm__ float*)x, 16384);
    gm.SetL2CacheHint(data.first ? CacheMode::CACHE_MODE_DISABLE : CacheMode::CACHE_MODE_NORMAL);
    DataCopy(buffer.Get<float>(), gm, 16384);
    PipeBarrier<PIPE_MTE2>();
    DataCopy(buffer.Get<float>(), gm, 16384);
  }
}

// Every core writes its 128 floats, all meet, then each cube core copies the next block's vector core's to
// the end of out; the cube cores meet, and each copies what the next one copied.
class MixState {
 public:
  __aicore__ inline MixState(GM_ADDR x, GM_ADDR out, GM_ADDR numbers)
      : answers_(numbers + Core() * kNumbers * sizeof(int32_t)) {
    x_.SetGlobalBuffer((__gm__ float*)x, kTile);
    out_.SetGlobalBuffer((__gm__ float*)out);
    answers_.Put(GetBlockIdx());
    answers_.Put(GetBlockNum());
    answers_.Put(GetSubBlockIdx());
    answers_.Put(GetTaskRatio());
  }

  __aicore__ inline void Cube() {
    TPipe pipe;
    TBuf<TPosition::A1> l1;
    pipe.InitBuffer(l1, kTile * sizeof(float));
    SetMMRowMajor();
    SetMMColumnMajor();
    SetHF32Mode(false);
    SetFixpipeNz2ndFlag(1, 0, 0);
    Pass(l1.Get<float>(), x_, out_[Core() * kTile]);
    SyncAll<false>();
    const uint64_t next = (GetBlockIdx() + 1) % GetBlockNum();
    Pass(l1.Get<float>(), out_[(GetBlockNum() + next * kVectors) * kTile],
         out_[(GetBlockNum() * (1 + kVectors) + GetBlockIdx()) * kTile]);
    CrossCoreSetFlag<0, PIPE_MTE3>(3);
    CrossCoreWaitFlag(3);
    Pass(l1.Get<float>(), out_[(GetBlockNum() * (1 + kVectors) + next) * kTile],
         out_[(GetBlockNum() * (2 + kVectors) + GetBlockIdx()) * kTile]);
  }

  __aicore__ inline void Vector() {
    TPipe pipe;
    TBuf<TPosition::VECIN> buffer;
    pipe.InitBuffer(buffer, kTile * sizeof(float));
    Pass(buffer.Get<float>(), x_, out_[Core() * kTile]);
    SyncAll<false>();
  }

 private:
  // Cube cores first, then the vector cores.
  __aicore__ inline static uint64_t Core() {
    uint64_t at = GetBlockIdx();
    if ASCEND_IS_AIV {
      at += GetBlockNum();
    }
    return at;
  }

  __aicore__ inline void Pass(const LocalTensor<float>& over, const GlobalTensor<float>& from,
                              const GlobalTensor<float>& to) {
    DataCopy(over, from, kTile);
    PipeBarrier<PIPE_ALL>();
    DataCopy(to, over, DataCopyParams(1, kTile / 8, 0, 0));
    PipeBarrier<PIPE_ALL>();
  }

  static constexpr uint64_t kVectors = VECTORS;
  Answers answers_;
  GlobalTensor<float> x_, out_;
};

extern "C" __global__ __aicore__ void state_mix(GM_ADDR x, GM_ADDR out, GM_ADDR numbers) {
  KERNEL_TASK_TYPE_DEFAULT(VECTORS == 2 ? KERNEL_TYPE_MIX_AIC_1_2 : KERNEL_TYPE_MIX_AIC_1_1);
  MixState state(x, out, numbers);
  if ASCEND_IS_AIC {
    state.Cube();
  }
  if ASCEND_IS_AIV {
    state.Vector();
  }
}
