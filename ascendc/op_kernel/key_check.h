// SPDX-License-Identifier: Apache-2.0
// Which key rows hold a value that is not finite. Score gradients that are 0 where a token does not see a row
// would make NaN of it, so that tokens near such rows get tiles of their own.
#pragma once

#include "grad_exchange.h"
#include "row_vector.h"
#include "unified_buffer.h"

namespace ms_nsa {

// Flags of kFlagRows rows of key and a kv head, from row 0 of key on. They lie where the selected blocks'
// index has its masks, and stay.
class KeyFlags {
 public:
  static constexpr int32_t kFlagRows = 64, kFlagInts = 8;

  __aicore__ inline KeyFlags(const AttentionParams& params, GM_ADDR workspace)
      : chunks_(CeilDiv<int64_t>(params.kv_rows, kFlagRows)) {
    flags_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(workspace + GradAreaOf(params, 0).masks));
  }

  __aicore__ inline int64_t chunks() const { return chunks_; }
  __aicore__ inline AscendC::GlobalTensor<int32_t> Flag(int64_t head, int64_t chunk) const {
    return flags_[(head * chunks_ + chunk) * kFlagInts];
  }

  // Reads through the data cache: to be invalidated after they were set.
  __aicore__ inline bool Any(int64_t head, int64_t row, int64_t end) const {
    for (int64_t chunk = row / kFlagRows; chunk * kFlagRows < end; ++chunk) {
      if (flags_.GetValue((head * chunks_ + chunk) * kFlagInts) != 0) return true;
    }
    return false;
  }

 private:
  int64_t chunks_;
  AscendC::GlobalTensor<int32_t> flags_;
};

template <class T>
class KeyCheck {
 public:
  __aicore__ inline KeyCheck(const AttentionParams& params, const GradAddresses& gm, UnifiedBuffer& ub)
      : p_(params), ub_(ub), flags_(params, gm.workspace) {
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.key));
  }

  // In the first segment, of all rows: the AIVs share them.
  __aicore__ inline void Build(const Segment&, const BlockIndex&) {
    if (done_) return;
    done_ = true;
    const int64_t units = p_.kv_heads * flags_.chunks(), core = AscendC::GetBlockIdx();
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, end = Quota(units, core + 1, cores);
    int64_t unit = Quota(units, core, cores);
    AscendC::PipeBarrier<PIPE_ALL>();
    if (unit < end) Load(unit);
    for (; unit < end; ++unit) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvent + unit % kSlots);
      if (unit + 1 < end) Load(unit + 1);
      Check(unit);
    }
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  static constexpr int32_t kTile = KeyFlags::kFlagRows * kMaxWidth;
  static constexpr int32_t kWideAt = kSlots * kTile * 2;

 public:
  static constexpr int32_t kInBytes = kWideAt + kTile * 4;
  static constexpr int32_t kOutBytes = KeyFlags::kFlagInts * 4;

 private:
  __aicore__ inline AscendC::LocalTensor<T> Raw(int64_t unit) {
    return ub_.In<T>(unit % kSlots * kTile * 2, kTile);
  }

  __aicore__ inline int32_t RowsOf(int64_t unit) const {
    const int64_t row = unit % flags_.chunks() * KeyFlags::kFlagRows;
    return Min<int64_t>(p_.kv_rows - row, KeyFlags::kFlagRows);
  }

  // Into a slot whose rows have been checked: Check waited for that.
  __aicore__ inline void Load(int64_t unit) {
    const int64_t head = unit / flags_.chunks(), row = unit % flags_.chunks() * KeyFlags::kFlagRows;
    const uint32_t bytes = p_.d1 * sizeof(T), skip = (p_.kv_heads - 1) * bytes;
    AscendC::DataCopyPad(Raw(unit), key_[(row * p_.kv_heads + head) * p_.d1],
                         {static_cast<uint16_t>(RowsOf(unit)), bytes, skip, 0, 0}, {false, 0, 0, T{}});
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvent + unit % kSlots);
  }

  // 0 * x is 0 for a finite x, else NaN, and a NaN stays in the sum.
  __aicore__ inline void Check(int64_t unit) {
    const int32_t rows = RowsOf(unit);
    const Floats wide = ub_.In<float>(kWideAt, kTile);
    const AscendC::LocalTensor<int32_t> flag = ub_.Out<int32_t>(0, KeyFlags::kFlagInts);
    AscendC::Cast(wide, Raw(unit), AscendC::RoundMode::CAST_NONE, rows * p_.d1);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Muls(wide, wide, 0.0f, rows * p_.d1);
    AscendC::PipeBarrier<PIPE_V>();
    FoldVectors<false>(wide, rows * p_.d1 / kCube, kCube);
    AscendC::WholeReduceSum(wide, wide, kCube, 1, 1, 1, kLanes / kBlockFloats);
    AscendC::SetFlag<AscendC::HardEvent::V_S>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(kEvent);
    const bool finite = wide.GetValue(0) == 0.0f;
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::Duplicate(flag, finite ? 0 : 1, KeyFlags::kFlagInts);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::DataCopy(flags_.Flag(unit / flags_.chunks(), unit % flags_.chunks()), flag, KeyFlags::kFlagInts);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvent);
  }

  static constexpr int32_t kCube = 16;  // columns come in so many
  static constexpr int32_t kEvent = 0;  // of (MTE2, V), the first of two

  const AttentionParams& p_;
  UnifiedBuffer& ub_;
  KeyFlags flags_;
  bool done_ = false;
  AscendC::GlobalTensor<T> key_;
};

}  // namespace ms_nsa
