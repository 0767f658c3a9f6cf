// SPDX-License-Identifier: Apache-2.0
// out[i][j] = table[indices[i]][order[j]]; index -1 gives a row of zeros. Rows are found by scalar reads of
// the index table in UB, columns by Gather.
#include "kernel_operator.h"

using namespace AscendC;

struct GatherRowsTiling {
  uint32_t count;  // indices
  uint32_t table_rows;
  uint32_t width;  // columns of the table
  uint32_t taken;  // columns of the result
};

constexpr uint32_t kChunk = 64;

class GatherRows {
 public:
  __aicore__ inline void Run(GM_ADDR table, GM_ADDR indices, GM_ADDR order, GM_ADDR out,
                             const GatherRowsTiling& t) {
    t_ = t;
    table_.SetGlobalBuffer((__gm__ half*)table, uint64_t{t.table_rows} * t.width);
    indices_.SetGlobalBuffer((__gm__ int32_t*)indices, t.count);
    order_.SetGlobalBuffer((__gm__ uint32_t*)order, t.taken);
    out_.SetGlobalBuffer((__gm__ half*)out, uint64_t{t.count} * t.taken);
    pipe_.InitBuffer(row_, 2, Padded(t.width * sizeof(half)));
    pipe_.InitBuffer(result_, 2, Padded(t.taken * sizeof(half)));
    pipe_.InitBuffer(index_, kChunk * sizeof(int32_t));
    pipe_.InitBuffer(offsets_, Padded(t.taken * sizeof(uint32_t)));
    LoadOrder();
    const uint32_t step = GetBlockNum() * kChunk;
    for (uint32_t first = GetBlockIdx() * kChunk; first < t.count; first += step) {
      Chunk(first, first + kChunk > t.count ? t.count - first : kChunk);
    }
    WaitFlag<HardEvent::S_MTE2>(read_);
  }

 private:
  __aicore__ inline static uint32_t Padded(uint32_t bytes) { return (bytes + 31) / 32 * 32; }

  // Column numbers become byte offsets.
  __aicore__ inline void LoadOrder() {
    LocalTensor<uint32_t> offsets = offsets_.Get<uint32_t>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(t_.taken * sizeof(uint32_t)), 0, 0, 0};
    DataCopyPadExtParams<uint32_t> pad{false, 0, 0, 0};
    DataCopyPad(offsets, order_, copy, pad);
    const int32_t loaded = pipe_.AllocEventID<HardEvent::MTE2_V>();
    SetFlag<HardEvent::MTE2_V>(loaded);
    WaitFlag<HardEvent::MTE2_V>(loaded);
    pipe_.ReleaseEventID<HardEvent::MTE2_V>(loaded);
    LocalTensor<int32_t> columns = offsets.ReinterpretCast<int32_t>();
    Muls(columns, columns, static_cast<int32_t>(sizeof(half)), static_cast<int32_t>(t_.taken));
    PipeBarrier<PIPE_V>();
    ready_ = pipe_.AllocEventID<HardEvent::MTE2_S>();
    read_ = pipe_.AllocEventID<HardEvent::S_MTE2>();
    SetFlag<HardEvent::S_MTE2>(read_);
  }

  __aicore__ inline void Chunk(uint32_t first, uint32_t count) {
    LocalTensor<int32_t> index = index_.Get<int32_t>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(count * sizeof(int32_t)), 0, 0, 0};
    DataCopyPadExtParams<int32_t> pad{false, 0, 0, 0};
    WaitFlag<HardEvent::S_MTE2>(read_);
    DataCopyPad(index, indices_[first], copy, pad);
    SetFlag<HardEvent::MTE2_S>(ready_);
    WaitFlag<HardEvent::MTE2_S>(ready_);
    for (uint32_t i = 0; i < count; ++i) Row(first + i, index.GetValue(i));
    SetFlag<HardEvent::S_MTE2>(read_);
  }

  __aicore__ inline void Row(uint32_t to, int32_t from) {
    LocalTensor<half> result = result_.AllocTensor<half>();
    if (from < 0) {
      Duplicate(result, half(0), static_cast<int32_t>(t_.taken));
    } else {
      Take(result, static_cast<uint32_t>(from));
    }
    result_.EnQue(result);
    result = result_.DeQue<half>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(t_.taken * sizeof(half)), 0, 0, 0};
    DataCopyPad(out_[uint64_t{to} * t_.taken], result, copy);
    result_.FreeTensor(result);
  }

  __aicore__ inline void Take(const LocalTensor<half>& result, uint32_t from) {
    LocalTensor<half> row = row_.AllocTensor<half>();
    DataCopyExtParams copy{1, static_cast<uint32_t>(t_.width * sizeof(half)), 0, 0, 0};
    DataCopyPadExtParams<half> pad{false, 0, 0, half(0)};
    DataCopyPad(row, table_[uint64_t{from} * t_.width], copy, pad);
    row_.EnQue(row);
    row = row_.DeQue<half>();
    Gather(result, row, offsets_.Get<uint32_t>(), 0, t_.taken);
    row_.FreeTensor(row);
  }

  TPipe pipe_;
  TQue<TPosition::VECIN, 1> row_;
  TQue<TPosition::VECOUT, 1> result_;
  TBuf<TPosition::VECIN> index_, offsets_;
  GlobalTensor<half> table_, out_;
  GlobalTensor<int32_t> indices_;
  GlobalTensor<uint32_t> order_;
  GatherRowsTiling t_;
  int32_t ready_ = 0, read_ = 0;
};

extern "C" __global__ __aicore__ void gather_rows(GM_ADDR table, GM_ADDR indices, GM_ADDR order, GM_ADDR out,
                                                  GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(GatherRowsTiling, data, tiling);
  if ASCEND_IS_AIV {
    GatherRows op;
    op.Run(table, indices, order, out, data);
  }
}
