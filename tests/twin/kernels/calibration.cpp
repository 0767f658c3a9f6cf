// SPDX-License-Identifier: Apache-2.0
// Small kernels that repeat the published measurements on the time model: the same calls on less data.
#include "kernel_operator.h"

using namespace AscendC;

struct CalibrationTiling {
  int64_t op;
  int64_t m, n, k;         // of the matrix in GM, or of a cube instruction
  int64_t tile_m, tile_n;  // of one copy
  int64_t rounds, parts;   // how often each of `parts` column ranges is read before the next
  int64_t loops, unit_flag;
  int64_t width;  // columns that are read, of the n in GM
};

enum Op {
  kLoadA = 1,
  kLoadB,
  kTransposeA,
  kTransposeB,
  kBias,
  kMmadInt8,
  kMmadHalf,
  kMmadFloat,
  kUnitFlag,
  kFixToL1,
  kRepeats,
  kConflicts,
  kLoad3dA,
  kLoad3dB,
  kFixpipeBuffer,
  kMasksSet,
  kMasksKept
};

// f(element offset, columns): every tile of this core's rows, in the order of the measured sample.
template <class F>
__aicore__ inline void ForTiles(const CalibrationTiling& t, int64_t core, int64_t cores, F f) {
  const int64_t rows = t.m / cores, part = t.width / t.parts;
  for (int64_t p = 0; p < t.parts; ++p) {
    const int64_t end = p + 1 == t.parts ? t.width : (p + 1) * part;
    for (int64_t round = 0; round < t.rounds; ++round) {
      for (int64_t i = core * rows; i < (core + 1) * rows; i += t.tile_m) {
        for (int64_t j = p * part; j < end; j += t.tile_n) {
          f(static_cast<uint64_t>(i * t.n + j), j + t.tile_n < end ? t.tile_n : end - j);
        }
      }
    }
  }
}

__aicore__ inline void ReadToUb(GM_ADDR in, const CalibrationTiling& t) {
  TPipe pipe;
  TBuf<TPosition::VECIN> buffer;
  pipe.InitBuffer(buffer, static_cast<uint32_t>(t.tile_m * ((t.tile_n * 2 + 31) / 32 * 32)));
  GlobalTensor<half> gm;
  gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in));
  ForTiles(t, GetBlockIdx(), GetBlockNum() * GetTaskRatio(), [&](uint64_t offset, int64_t columns) {
    const DataCopyExtParams p(t.tile_m, columns * 2, (t.n - columns) * 2, 0, 0);
    PipeBarrier<PIPE_MTE2>();
    DataCopyPad(buffer.Get<half>(), gm[offset], p, DataCopyPadExtParams<half>());
  });
}

// The same work with a mask that every call sets, and with one set before.
__aicore__ inline void Masks(const LocalTensor<float>& x, const CalibrationTiling& t) {
  const bool keep = t.op == kMasksKept;
  if (keep) SetMaskCount();
  if (keep) SetVectorMask<float, MaskMode::COUNTER>(0, 64);
  for (int64_t i = 0; i < t.loops; ++i) {
    if (keep) {
      Adds<float, false>(x, x, 1.0f, MASK_PLACEHOLDER, 1, UnaryRepeatParams(1, 1, 8, 8));
    } else {
      Adds(x, x, 1.0f, 64);
    }
    PipeBarrier<PIPE_V>();
  }
  if (keep) SetMaskNorm();
  if (keep) ResetMask();
}

__aicore__ inline void VectorWork(const CalibrationTiling& t) {
  TPipe pipe;
  TBuf<TPosition::VECIN> buffer;
  pipe.InitBuffer(buffer, 65536);
  LocalTensor<float> x = buffer.Get<float>();
  const BinaryRepeatParams dense;
  const BinaryRepeatParams one_group(16, 16, 16, 1, 1, 1);
  Duplicate(x, 1.0f, 16384);
  PipeBarrier<PIPE_V>();
  if (t.op >= kMasksSet) {
    Masks(x, t);
    return;
  }
  Add(x, x, x, static_cast<uint64_t>(64), static_cast<uint8_t>(t.loops),
      t.op == kRepeats ? dense : one_group);
}

// L1 and the L0 buffers, filled with ones.
class Cube {
 public:
  __aicore__ inline explicit Cube(const CalibrationTiling& t) : t_(t) {
    pipe_.InitBuffer(l1_, 262144);
    pipe_.InitBuffer(l0a_, 65536);
    pipe_.InitBuffer(l0b_, 65536);
    pipe_.InitBuffer(l0c_, 131072);
    pipe_.InitBuffer(bias_, 1024);
    pipe_.InitBuffer(scales_, 2048);
  }

  __aicore__ inline void Read(GM_ADDR in) {
    GlobalTensor<half> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in));
    ForTiles(t_, GetBlockIdx(), GetBlockNum(), [&](uint64_t offset, int64_t columns) {
      Nd2NzParams p(1, t_.tile_m, columns, 0, t_.n, t_.tile_m, 1, 0);
      PipeBarrier<PIPE_MTE2>();
      DataCopy(l1_.Get<half>(), gm[offset], p);
    });
  }

  __aicore__ inline void Run() {
    Fill(l1_.Get<half>(), InitConstValueParams<half>(1, 8192, 0, half(1)));
    Fill(l0a_.Get<half>(), InitConstValueParams<half>(1, 128, 0, half(1)));
    Fill(l0b_.Get<half>(), InitConstValueParams<half>(1, 128, 0, half(1)));
    PipeBarrier<PIPE_ALL>();
    switch (t_.op) {
      case kLoadA:
        Load(l0a_.Get<half>(), false);
        break;
      case kLoadB:
        Load(l0b_.Get<half>(), false);
        break;
      case kTransposeA:
        Load(l0a_.Get<half>(), true);
        break;
      case kTransposeB:
        Load(l0b_.Get<half>(), true);
        break;
      case kBias:
        DataCopy(bias_.Get<float>(), l1_.Get<float>(), static_cast<uint32_t>(t_.n));
        break;
      case kLoad3dA:
        Load3D(l0a_.Get<half>());
        break;
      case kLoad3dB:
        Load3D(l0b_.Get<half>());
        break;
      case kFixpipeBuffer:
        DataCopy(scales_.Get<uint64_t>(), l1_.Get<uint64_t>(), static_cast<uint32_t>(t_.n));
        break;
      case kMmadInt8:
        Multiply<int8_t, int32_t>(1, 0);
        break;
      case kMmadHalf:
        Multiply<half, float>(1, 0);
        break;
      case kMmadFloat:
        Multiply<float, float>(1, 0);
        break;
      case kUnitFlag:
        KLoop();
        break;
      case kFixToL1:
        FixToL1();
        break;
      default:
        break;
    }
    PipeBarrier<PIPE_ALL>();
  }

 private:
  // m x k (or k x n) elements of 16 bits.
  __aicore__ inline void Load(const LocalTensor<half>& to, bool transpose) {
    const uint8_t fractals = static_cast<uint8_t>(t_.m * t_.k / 256);
    if (transpose) {
      LoadDataWithTranspose(to, l1_.Get<half>(), LoadData2dTransposeParams(0, fractals, 1, 0, 0));
    } else {
      LoadData(to, l1_.Get<half>(), LoadData2DParams(0, fractals, 1, 0, 0, false, 0));
    }
  }

  __aicore__ inline void Load3D(const LocalTensor<half>& to) {
    LoadData3DParamsV2<half> p;
    p.l1H = 1;
    p.l1W = p.mExtension = static_cast<uint16_t>(t_.m);
    p.channelSize = p.kExtension = static_cast<uint16_t>(t_.k);
    LoadData<half>(to, l1_.Get<half>(), p);
  }

  template <class T, class C>
  __aicore__ inline void Multiply(int64_t loops, uint8_t unit_flag) {
    MmadParams p(t_.m, t_.n, t_.k / loops, unit_flag, false, true);
    for (int64_t i = 0; i < loops; ++i) {
      p.unitFlag = unit_flag && i + 1 == loops ? 3 : unit_flag;
      p.cmatrixInitVal = i == 0;
      Mmad(l0c_.Get<C>(), l0a_.Get<T>(), l0b_.Get<T>(), p);
    }
  }

  __aicore__ inline void KLoop() {
    Multiply<half, float>(t_.loops, t_.unit_flag ? 2 : 0);
    if (!t_.unit_flag) {
      SetFlag<HardEvent::M_FIX>(0);
      WaitFlag<HardEvent::M_FIX>(0);
    }
    Fix(t_.unit_flag ? 3 : 0);
  }

  __aicore__ inline void FixToL1() {
    Multiply<half, float>(1, 0);
    PipeBarrier<PIPE_ALL>();
    Fix(0);
  }

  __aicore__ inline void Fix(uint8_t unit_flag) {
    FixpipeParamsV220 f(t_.n, t_.m, t_.m, t_.m, false);
    f.quantPre = F322F16;
    f.unitFlag = unit_flag;
    Fixpipe<half, float, CFG_NZ>(l1_.Get<half>(), l0c_.Get<float>(), f);
  }

  CalibrationTiling t_;
  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bias_;
  TBuf<TPosition::C2PIPE2GM> scales_;
};

extern "C" __global__ __aicore__ void calibrate_vector(GM_ADDR in, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(CalibrationTiling, t, tiling);
  if ASCEND_IS_AIV {
    if (t.op == 0) {
      ReadToUb(in, t);
    } else {
      VectorWork(t);
    }
  }
}

extern "C" __global__ __aicore__ void calibrate_cube(GM_ADDR in, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  GET_TILING_DATA_WITH_STRUCT(CalibrationTiling, t, tiling);
  if ASCEND_IS_AIC {
    Cube cube(t);
    t.op == 0 ? cube.Read(in) : cube.Run();
  }
}
