// SPDX-License-Identifier: Apache-2.0
// out = half(scale * A B): the cube writes fp32 tiles to a ring of two workspace slots, the vector cores
// scale, convert and store them. Every operand is double buffered; sizes are ragged.
#include "kernel_operator.h"

using namespace AscendC;

struct MatmulScaleTiling {
  uint32_t m, n, k;
  float scale;
};

constexpr uint32_t kTileM = 64, kTileN = 96, kTileK = 80;
constexpr uint32_t kSlots = 2;
constexpr uint32_t kSlotElements = kTileM * kTileN;
constexpr uint16_t kReady = 0, kFree = 1;
// TPipe keeps M_MTE1 0 to 2 for itself on a cube core.
constexpr int32_t kL0Free = 3;

__aicore__ inline uint32_t Smaller(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}
__aicore__ inline uint32_t Blocks16(uint32_t v) {
  return (v + 15) / 16;
}

struct Tile {
  uint32_t row, col, m, n;
  __aicore__ inline Tile(const MatmulScaleTiling& t, uint32_t index) {
    const uint32_t across = (t.n + kTileN - 1) / kTileN;
    row = index / across * kTileM;
    col = index % across * kTileN;
    m = Smaller(kTileM, t.m - row);
    n = Smaller(kTileN, t.n - col);
  }
};

__aicore__ inline uint32_t TileCount(const MatmulScaleTiling& t) {
  return ((t.m + kTileM - 1) / kTileM) * ((t.n + kTileN - 1) / kTileN);
}

class CubeSide {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR b, GM_ADDR ws, const MatmulScaleTiling& t) {
    t_ = t;
    a_.SetGlobalBuffer((__gm__ half*)a);
    b_.SetGlobalBuffer((__gm__ half*)b);
    ws_.SetGlobalBuffer((__gm__ float*)ws);
    pipe_.InitBuffer(l1a_, 2 * kTileM * kTileK * sizeof(half));
    pipe_.InitBuffer(l1b_, 2 * kTileK * kTileN * sizeof(half));
    pipe_.InitBuffer(l0a_, 2 * kTileM * kTileK * sizeof(half));
    pipe_.InitBuffer(l0b_, 2 * kTileK * kTileN * sizeof(half));
    pipe_.InitBuffer(l0c_, kTileM * kTileN * sizeof(float));
    for (int32_t i = 0; i < 2; ++i) {
      SetFlag<HardEvent::MTE1_MTE2>(i);
      SetFlag<HardEvent::M_MTE1>(kL0Free + i);
    }
    SetFlag<HardEvent::FIX_M>(0);
    uint32_t done = 0;
    for (uint32_t i = GetBlockIdx(); i < TileCount(t_); i += GetBlockNum()) ComputeTile(Tile(t_, i), done++);
    for (uint32_t i = 0; i < Smaller(done, kSlots); ++i) CrossCoreWaitFlag(kFree);
    for (int32_t i = 0; i < 2; ++i) {
      WaitFlag<HardEvent::MTE1_MTE2>(i);
      WaitFlag<HardEvent::M_MTE1>(kL0Free + i);
    }
    WaitFlag<HardEvent::FIX_M>(0);
  }

 private:
  __aicore__ inline void ComputeTile(const Tile& tile, uint32_t done) {
    LocalTensor<float> c = l0c_.Get<float>();
    WaitFlag<HardEvent::FIX_M>(0);
    for (uint32_t k = 0; k < t_.k; k += kTileK) {
      const uint32_t kc = Smaller(kTileK, t_.k - k);
      Load(tile, k, kc);
      Multiply(tile, c, k, kc);
      slot_ ^= 1;
    }
    SetFlag<HardEvent::M_FIX>(0);
    WaitFlag<HardEvent::M_FIX>(0);
    if (done >= kSlots) CrossCoreWaitFlag(kFree);
    FixpipeParamsV220 p;
    p.nSize = tile.n;
    p.mSize = tile.m;
    p.srcStride = Blocks16(tile.m) * 16;
    p.dstStride = kTileN;
    Fixpipe<float, float, CFG_ROW_MAJOR>(ws_[(GetBlockIdx() * kSlots + done % kSlots) * kSlotElements], c, p);
    SetFlag<HardEvent::FIX_M>(0);
    CrossCoreSetFlag<2, PIPE_FIX>(kReady);
  }

  __aicore__ inline void Load(const Tile& tile, uint32_t k, uint32_t kc) {
    LocalTensor<half> a = l1a_.Get<half>()[slot_ * kTileM * kTileK];
    LocalTensor<half> b = l1b_.Get<half>()[slot_ * kTileK * kTileN];
    WaitFlag<HardEvent::MTE1_MTE2>(slot_);
    Nd2NzParams p;
    p.ndNum = 1;
    p.nValue = tile.m;
    p.dValue = kc;
    p.srcDValue = t_.k;
    p.dstNzC0Stride = Blocks16(tile.m) * 16;
    p.dstNzNStride = 1;
    DataCopy(a, a_[uint64_t{tile.row} * t_.k + k], p);
    if (tile.m == 1) ClearSecondRow(a, Blocks16(kc));
    p.nValue = kc;
    p.dValue = tile.n;
    p.srcDValue = t_.n;
    p.dstNzC0Stride = Blocks16(kc) * 16;
    DataCopy(b, b_[uint64_t{k} * t_.n + tile.col], p);
    SetFlag<HardEvent::MTE2_MTE1>(slot_);
    WaitFlag<HardEvent::MTE2_MTE1>(slot_);
  }

  // See Multiply: the cube gets two rows.
  __aicore__ inline void ClearSecondRow(const LocalTensor<half>& a, uint32_t slabs) {
    Fill(a[16], InitConstValueParams<half>(slabs, 1, 15, half(0)));
  }

  __aicore__ inline void Multiply(const Tile& tile, const LocalTensor<float>& c, uint32_t k, uint32_t kc) {
    LocalTensor<half> l1a = l1a_.Get<half>()[slot_ * kTileM * kTileK];
    LocalTensor<half> l1b = l1b_.Get<half>()[slot_ * kTileK * kTileN];
    LocalTensor<half> a = l0a_.Get<half>()[slot_ * kTileM * kTileK];
    LocalTensor<half> b = l0b_.Get<half>()[slot_ * kTileK * kTileN];
    const uint32_t mb = Blocks16(tile.m), nb = Blocks16(tile.n), kb = Blocks16(kc);
    WaitFlag<HardEvent::M_MTE1>(kL0Free + slot_);
    LoadData2DParams p;
    p.repeatTimes = kb;
    p.srcStride = mb;
    for (uint32_t i = 0; i < mb; ++i) LoadData(a[i * kb * 256], l1a[i * 256], p);
    p.repeatTimes = nb;
    p.srcStride = kb;
    p.ifTranspose = true;
    for (uint32_t i = 0; i < kb; ++i) LoadData(b[i * nb * 256], l1b[i * 256], p);
    SetFlag<HardEvent::MTE1_MTE2>(slot_);
    SetFlag<HardEvent::MTE1_M>(slot_);
    WaitFlag<HardEvent::MTE1_M>(slot_);
    MmadParams mm;
    mm.m = tile.m == 1 ? 2 : tile.m;  // 1 would be read as GEMV; nobody reads the second row
    mm.n = tile.n;
    mm.k = kc;
    mm.cmatrixInitVal = k == 0;
    if ((tile.m / 16) * (tile.n / 16) < 10) PipeBarrier<PIPE_M>();  // whole fractals only
    Mmad(c, a, b, mm);
    SetFlag<HardEvent::M_MTE1>(kL0Free + slot_);
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1a_;
  TBuf<TPosition::B1> l1b_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  GlobalTensor<half> a_, b_;
  GlobalTensor<float> ws_;
  MatmulScaleTiling t_;
  uint32_t slot_ = 0;
};

class VectorSide {
 public:
  __aicore__ inline void Run(GM_ADDR out, GM_ADDR ws, const MatmulScaleTiling& t) {
    t_ = t;
    out_.SetGlobalBuffer((__gm__ half*)out, uint64_t{t.m} * t.n);
    ws_.SetGlobalBuffer((__gm__ float*)ws);
    pipe_.InitBuffer(in_, 2, kSlotElements / 2 * sizeof(float));
    pipe_.InitBuffer(result_, 2, kSlotElements / 2 * sizeof(half));
    uint32_t done = 0;
    const uint32_t block = GetBlockIdx() / GetTaskRatio();
    for (uint32_t i = block; i < TileCount(t_); i += GetBlockNum()) {
      CrossCoreWaitFlag(kReady);
      Convert(Tile(t_, i), (block * kSlots + done++ % kSlots) * kSlotElements);
    }
  }

 private:
  __aicore__ inline void Convert(const Tile& tile, uint32_t slot) {
    const uint32_t half_rows = (tile.m + 1) / 2;
    const uint32_t first = GetSubBlockIdx() * half_rows;
    const uint32_t rows = first >= tile.m ? 0 : Smaller(half_rows, tile.m - first);
    if (rows == 0) {
      CrossCoreSetFlag<2, PIPE_MTE2>(kFree);
      return;
    }
    LocalTensor<float> in = in_.AllocTensor<float>();
    DataCopy(in, ws_[slot + first * kTileN], rows * kTileN);
    CrossCoreSetFlag<2, PIPE_MTE2>(kFree);
    in_.EnQue(in);
    in = in_.DeQue<float>();
    LocalTensor<half> result = result_.AllocTensor<half>();
    UnaryRepeatParams same;
    for (uint32_t r = 0; r < rows; ++r)
      Muls(in[r * kTileN], in[r * kTileN], t_.scale, static_cast<int32_t>(tile.n));
    PipeBarrier<PIPE_V>();
    for (uint32_t r = 0; r < rows; ++r)
      Cast(result[r * kTileN], in[r * kTileN], RoundMode::CAST_RINT, tile.n);
    in_.FreeTensor(in);
    result_.EnQue(result);
    result = result_.DeQue<half>();
    DataCopyExtParams p;
    p.blockCount = rows;
    p.blockLen = tile.n * sizeof(half);
    p.srcStride = (kTileN * sizeof(half) - (tile.n * sizeof(half) + 31) / 32 * 32) / 32;
    p.dstStride = (t_.n - tile.n) * sizeof(half);
    DataCopyPad(out_[uint64_t{tile.row + first} * t_.n + tile.col], result, p);
    result_.FreeTensor(result);
  }

  TPipe pipe_;
  TQue<TPosition::VECIN, 1> in_;
  TQue<TPosition::VECOUT, 1> result_;
  GlobalTensor<half> out_;
  GlobalTensor<float> ws_;
  MatmulScaleTiling t_;
};

extern "C" __global__ __aicore__ void matmul_scale(GM_ADDR a, GM_ADDR b, GM_ADDR out, GM_ADDR workspace,
                                                   GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  GET_TILING_DATA_WITH_STRUCT(MatmulScaleTiling, data, tiling);
  GM_ADDR user = GetUserWorkspace(workspace);
  if ASCEND_IS_AIC {
    CubeSide side;
    side.Run(a, b, user, data);
  }
  if ASCEND_IS_AIV {
    VectorSide side;
    side.Run(out, user, data);
  }
}
