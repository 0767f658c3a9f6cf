// SPDX-License-Identifier: Apache-2.0
// The queue protocol and the events of one core, each with one step left out or out of order, chosen by
// tiling. `fault N: rule` marks the line where fault N must be reported; fault 0 is the correct kernel.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kTile = 64;

class QueueFaults {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR z, const FaultTiling& t) {
    fault_ = t.fault;
    x_.SetGlobalBuffer((__gm__ float*)x, 4 * kTile);
    z_.SetGlobalBuffer((__gm__ float*)z, 4 * kTile);
    TPipe pipe;
    pipe_ = &pipe;
    if (!Is(1)) pipe.InitBuffer(in_, 2, kTile * sizeof(float));
    pipe.InitBuffer(out_, 2, kTile * sizeof(float));
    if (Is(2)) TooManyBuffers();
    if (Is(3)) TooManyTensors();
    if (Is(4)) SecondPipe();
    for (uint32_t i = 0; i < 4; ++i) Tile(i);
    if (Is(5)) in_.DeQue<float>();  // fault 5: queue
    if (Is(6)) NeverFreed();
    if (Is(7)) Full();
    if (Is(8)) TooDeep();
    Events();
    Reserved();
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Tile(uint32_t i) {
    LocalTensor<float> in = in_.AllocTensor<float>();  // fault 1: queue
    if (!(Is(25) && i == 3)) DataCopy(in, x_[i * kTile], kTile);
    if (Is(9)) in_.FreeTensor(in);
    in_.EnQue(in);                   // fault 9: queue
    if (Is(10)) in_.FreeTensor(in);  // fault 10: queue
    in = in_.DeQue<float>();
    LocalTensor<float> out = out_.AllocTensor<float>();
    if (Is(11)) in_.FreeTensor(in);
    Adds(out, in, 1.0f, kTile);  // fault 11: use_after_free  // fault 25: uninitialised
    in_.FreeTensor(in);
    if (Is(12)) in_.FreeTensor(in);  // fault 12: queue
    if (Is(13)) in_.EnQue(out);      // fault 13: queue
    out_.EnQue(out);
    if (Is(14)) out_.EnQue(out);  // fault 14: queue
    out = out_.DeQue<float>();
    DataCopy(z_[i * kTile], out, kTile);
    out_.FreeTensor(out);
  }

  __aicore__ inline void TooManyBuffers() {
    for (uint32_t i = 0; i < 61; ++i) pipe_->InitBuffer(spare_, 32);  // fault 2: queue
  }

  __aicore__ inline void TooManyTensors() {
    pipe_->InitBuffer(many_, 9, 32);
    for (uint32_t i = 0; i < 9; ++i) held_[i] = many_.AllocTensor<float>();  // fault 3: queue
    for (uint32_t i = 0; i < 9; ++i) many_.FreeTensor(held_[i]);
  }

  __aicore__ inline void SecondPipe() {
    TPipe other;  // fault 4: queue
    other.InitBuffer(spare_, 32);
  }

  __aicore__ inline void NeverFreed() {
    LocalTensor<float> lost = in_.AllocTensor<float>();  // fault 6: queue
    DataCopy(lost, x_, kTile);
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Full() {
    for (uint32_t i = 0; i < 3; ++i) in_.AllocTensor<float>();  // fault 7: queue
  }

  __aicore__ inline void TooDeep() {
    LocalTensor<float> one = in_.AllocTensor<float>();
    LocalTensor<float> two = in_.AllocTensor<float>();
    in_.EnQue(one);
    in_.EnQue(two);  // fault 8: queue
    in_.DeQue<float>();
    in_.DeQue<float>();
    in_.FreeTensor(one);
    in_.FreeTensor(two);
  }

  __aicore__ inline void Events() {
    SetFlag<HardEvent::S_V>(1);              // fault 15: flag
    if (Is(16)) SetFlag<HardEvent::S_V>(1);  // fault 16: flag
    if (!Is(15)) WaitFlag<HardEvent::S_V>(1);
    if (Is(17)) WaitFlag<HardEvent::S_V>(1);       // fault 17: flag
    if (Is(18)) SetFlag<HardEvent::M_V>(1);        // fault 18: flag_pair
    if (Is(19)) SetFlag<HardEvent::MTE1_MTE2>(1);  // fault 19: flag_pair
    if (Is(20)) PipeBarrier<PIPE_M>();             // fault 20: core
  }

  __aicore__ inline void Reserved() {
    const int32_t id = Is(21) ? 6 : Is(22) ? 8 : 5;
    SetFlag<HardEvent::S_V>(id);  // fault 21: event_id  // fault 22: event_id
    if (!Is(22)) WaitFlag<HardEvent::S_V>(id);
    for (uint32_t i = 0; i < (Is(23) ? 9 : 8); ++i) {
      ids_[i] = pipe_->AllocEventID<HardEvent::S_MTE3>();  // fault 23: event_id
    }
    for (uint32_t i = 0; i < 8; ++i) pipe_->ReleaseEventID<HardEvent::S_MTE3>(ids_[i]);
    if (Is(24)) pipe_->ReleaseEventID<HardEvent::S_MTE3>(ids_[0]);  // fault 24: event_id
  }

  TPipe* pipe_ = nullptr;
  TQue<TPosition::VECIN, 1> in_;
  TQue<TPosition::VECOUT, 1> out_;
  TQue<TPosition::VECIN, 9> many_;
  TBuf<TPosition::VECCALC> spare_;
  LocalTensor<float> held_[9];
  TEventID ids_[9];
  GlobalTensor<float> x_, z_;
  uint32_t fault_ = 0;
};

extern "C" __global__ __aicore__ void faults_queue(GM_ADDR x, GM_ADDR z, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    QueueFaults op;
    op.Run(x, z, data);
  }
}
