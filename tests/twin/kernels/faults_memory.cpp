// SPDX-License-Identifier: Apache-2.0
// GM shared by the vector cores of several blocks: order between cores, the scalar data cache, atomics. One
// step is missing or wrong, chosen by tiling. `fault N: rule` marks where fault N must be reported; fault 0
// is correct.
#include "fault.h"
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kTile = 64;
constexpr uint32_t kLine = 16;  // floats of a cache line
constexpr CacheLine kOneLine = CacheLine::SINGLE_CACHE_LINE;
constexpr DcciDst kToGm = DcciDst::CACHELINE_OUT;

class MemoryFaults {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR z, GM_ADDR ws, const FaultTiling& t) {
    fault_ = t.fault;
    core_ = GetBlockIdx();
    cores_ = GetBlockNum();
    x_.SetGlobalBuffer((__gm__ float*)x, cores_ * kTile);
    z_.SetGlobalBuffer((__gm__ float*)z, cores_ * kTile);
    sum_.SetGlobalBuffer((__gm__ float*)z + cores_ * kTile, kTile);
    slots_.SetGlobalBuffer((__gm__ int32_t*)ws, (cores_ * 4 + 2) * 64);
    scalars_.SetGlobalBuffer((__gm__ float*)(ws + 4096), cores_ * kLine);
    pipe_.InitBuffer(buffer_, kTile * sizeof(float));
    pipe_.InitBuffer(sync_, (cores_ + 1) * 32);
    a_ = buffer_.Get<float>();
  }

  __aicore__ inline void Hardware() {
    if (Is(2) && core_ == 0) return;
    Exchange();
    Sum();
    Cache();
    if (Is(14)) z_.GetValue(cores_ * kTile);  // fault 14: bounds
  }

  // Synchronisation in software over GM, for kernels without cross-core flags.
  __aicore__ inline void Software() {
    DataCopy(a_, x_[core_ * kTile], kTile);
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_[core_ * kTile], a_, kTile);  // fault 15: gm_race
    PipeBarrier<PIPE_ALL>();
    LocalTensor<int32_t> ub = sync_.Get<int32_t>();
    if (Is(16) && core_ == 0) return;
    if (!Is(15)) SyncAll(slots_, ub);                       // fault 16: deadlock  // fault 22: uninitialised
    DataCopy(a_, z_[(core_ + 1) % cores_ * kTile], kTile);  // fault 15: gm_race
    PipeBarrier<PIPE_ALL>();
    if (Is(15)) return;
    SyncAll(slots_, ub);
    Chain(ub);
  }

 private:
  __aicore__ inline bool Is(uint32_t fault) const { return fault_ == fault; }

  __aicore__ inline void Exchange() {
    DataCopy(a_, x_[core_ * kTile], kTile);
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_[core_ * kTile], a_, kTile);  // fault 1: gm_race
    PipeBarrier<PIPE_ALL>();
    if (!Is(1)) SyncAll();                                  // fault 2: deadlock  // fault 3: block_dim
    DataCopy(a_, z_[(core_ + 1) % cores_ * kTile], kTile);  // fault 1: gm_race
    PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Sum() {
    if (core_ == 0 && !Is(4)) {
      Duplicate(a_, 0.0f, kTile);
      PipeBarrier<PIPE_ALL>();
      DataCopy(sum_, a_, kTile);
      PipeBarrier<PIPE_ALL>();
    }
    SyncAll();
    SetAtomicAdd<float>();  // fault 5: atomic
    if (Is(6)) SetAtomicType<int32_t>();
    if (Is(7)) SetAtomicAdd<uint32_t>();  // fault 7: atomic
    DataCopy(sum_, a_, kTile);            // fault 8: gm_race  // fault 4: uninitialised  // fault 6: atomic
    if (!Is(5)) SetAtomicNone();
    PipeBarrier<PIPE_ALL>();
    if (!Is(8)) SyncAll();
    if (core_ == 1) DataCopy(a_, sum_, kTile);
    PipeBarrier<PIPE_ALL>();
  }

  // Every core writes one value through its data cache and reads its neighbour's, twice.
  __aicore__ inline void Cache() {
    Publish(1.0f);
    if (!Is(12)) SyncAll();
    const uint64_t next = (core_ + 1) % cores_ * kLine;
    float got = scalars_.GetValue(next);  // fault 12: uninitialised  // fault 12: gm_race
    SyncAll();
    Publish(2.0f);
    SyncAll();
    if (!Is(9)) DataCacheCleanAndInvalid<float, kOneLine, kToGm>(scalars_[next]);
    got += scalars_.GetValue(next);  // fault 9: stale_read
    SyncAll();
    scalars_.SetValue(core_ * kLine, got);                     // fault 10: dirty_line
    if (Is(11)) DataCopy(a_, scalars_[core_ * kLine], kLine);  // fault 11: dirty_line
    if (!Is(10)) Clean(core_ * kLine);
    if (Is(13)) ShareLine();
  }

  __aicore__ inline void Publish(float value) {
    scalars_.SetValue(core_ * kLine, value);
    Clean(core_ * kLine);
  }

  __aicore__ inline void Clean(uint64_t at) {
    DataCacheCleanAndInvalid<float, kOneLine, kToGm>(scalars_[at]);  // fault 13: dirty_line
  }

  // Two cores write different bytes of one line: each write-back undoes the other's.
  __aicore__ inline void ShareLine() {
    SyncAll();
    scalars_.SetValue(core_, 3.0f);
    SyncAll();
    Clean(core_);
    SyncAll();
  }

  // Each core waits for the one before it.
  __aicore__ inline void Chain(const LocalTensor<int32_t>& ub) {
    const GlobalTensor<int32_t> events = slots_[cores_ * 8];
    if (core_ > 0 && !Is(17)) IBWait(events, ub, core_ - 1, 0);   // fault 18: deadlock
    if (core_ > 0) DataCopy(a_, z_[(core_ - 1) * kTile], kTile);  // fault 17: gm_race
    PipeBarrier<PIPE_ALL>();
    Adds(a_, a_, 1.0f, kTile);
    PipeBarrier<PIPE_ALL>();
    DataCopy(z_[core_ * kTile], a_, kTile);  // fault 17: gm_race
    PipeBarrier<PIPE_ALL>();
    if (core_ + 1 < cores_ && !Is(17) && !Is(18)) IBSet(events, ub, core_, 0);
    const uint32_t more = Is(19) && core_ == 0 ? 2 : 0;
    for (uint32_t i = 0; i < more; ++i) IBSet(events, ub, core_, 0);  // fault 19: deadlock
  }

  TPipe pipe_;
  TBuf<TPosition::VECIN> buffer_, sync_;
  GlobalTensor<float> x_, z_, sum_, scalars_;
  GlobalTensor<int32_t> slots_;
  LocalTensor<float> a_;
  uint32_t fault_ = 0, core_ = 0, cores_ = 0;
};

extern "C" __global__ __aicore__ void faults_memory(GM_ADDR x, GM_ADDR z, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIV_1_0);
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    MemoryFaults op;
    op.Run(x, z, GetUserWorkspace(workspace), data);
    op.Hardware();
  }
}

extern "C" __global__ __aicore__ void faults_memory_software(GM_ADDR x, GM_ADDR z, GM_ADDR workspace,
                                                             GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);  // fault 21: task_type
  GET_TILING_DATA_WITH_STRUCT(FaultTiling, data, tiling);
  if ASCEND_IS_AIV {
    MemoryFaults op;
    op.Run(x, z, workspace, data);
    op.Software();
    if (data.fault == 20) SyncAll();  // fault 20: cross_flag
  }
}
