// SPDX-License-Identifier: Apache-2.0
// What decode's compression leaves beside its rows: the slots of entries that hold a window, -1 and a row of
// zeros for all others.
#pragma once

#include "compress_source.h"
#include "compress_vector.h"
#include "paged_windows.h"

namespace ms_nsa {

template <class T>
class CompressEntries {
 public:
  __aicore__ inline CompressEntries(const CompressParams& params, const PagedPart<T>& source, GM_ADDR rows,
                                    GM_ADDR slots, AscendC::TPipe& pipe)
      : p_(params), source_(source) {
    rows_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(rows));
    slots_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(slots));
    pipe.InitBuffer(buffer_, kZerosAt + kPartElements * 2);
  }

  __aicore__ inline void Run(PagedWindowWalk<PagedPart<T>> walk) {
    AscendC::Duplicate(buffer_.template GetWithOffset<float>(kPartElements / 2, kZerosAt), 0.0f,
                       kPartElements / 2);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
    for (int32_t place = 0; place < kPlaces; ++place) AscendC::SetFlag<AscendC::HardEvent::MTE3_S>(place);
    int32_t part = 0;
    for (int64_t entry; walk.NextEntry(entry, part);) {
      const bool holds = WindowOfEntry(p_, source_, entry) >= 0;
      if (!holds) Clear(entry, part);
      if (part == 0) StoreSlot(entry, holds ? source_.Slot(entry) : -1);
    }
    for (int32_t place = 0; place < kPlaces; ++place) AscendC::WaitFlag<AscendC::HardEvent::MTE3_S>(place);
  }

 private:
  static constexpr int32_t kPlaces = 4, kPlaceInts = 8, kZerosAt = kPlaces * kPlaceInts * 4;

  __aicore__ inline void Clear(int64_t entry, int32_t part) {
    const int32_t done = HeadsDone(p_, part);
    const int64_t head = entry * p_.kv_heads + FirstHead(p_, part) + done;
    AscendC::DataCopy(rows_[head * p_.head_dim], buffer_.template GetWithOffset<T>(kPartElements, kZerosAt),
                      (p_.part_heads - done) * p_.head_dim);
  }

  __aicore__ inline void StoreSlot(int64_t entry, int32_t slot) {
    const int32_t place = place_++ % kPlaces;
    const auto value = buffer_.template GetWithOffset<int32_t>(kPlaceInts, place * kPlaceInts * 4);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_S>(place);
    value.SetValue(0, slot);
    AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(place);
    AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(place);
    AscendC::DataCopyPad(slots_[entry], value, {1, sizeof(int32_t), 0, 0, 0});
    AscendC::SetFlag<AscendC::HardEvent::MTE3_S>(place);
  }

  const CompressParams& p_;
  const PagedPart<T>& source_;
  int32_t place_ = 0;
  AscendC::TBuf<AscendC::TPosition::VECOUT> buffer_;
  AscendC::GlobalTensor<T> rows_;
  AscendC::GlobalTensor<int32_t> slots_;
};

}  // namespace ms_nsa
