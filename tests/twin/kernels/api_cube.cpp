// SPDX-License-Identifier: Apache-2.0
// Cube API on images of L1, L0A and L0B. No path leads from these back to GM, so an image is shown by
// multiplying its bytes, read as half, with the identity: exact for finite halves. Each case starts from a
// known image, makes one call and shows the whole image. Everything waits for everything: only values count.
#include "kernel_operator.h"

using namespace AscendC;

constexpr uint32_t kImage = 16384;  // of L1, L0A, L0B
constexpr uint32_t kShown = 32768;  // of GM: the image as float
constexpr uint32_t kFractalBytes = 512;
constexpr uint32_t kFractals = kImage / kFractalBytes;
constexpr uint32_t kIdentity = 2048;  // half 16x16 in a fractal, then float 16x16 in two

struct CubeCase {
  int64_t op;         // negative: no more cases
  int64_t offset[2];  // bytes: destination, source
  int64_t p[12];
};

enum Op {
  kNd2Nz,
  kCopyToL1,
  kFillL1,
  kLoadGmToL1,
  kFixToL1,  // show L1
  kLoadA = 10,
  kTransposeA,
  kLoadGmToA,
  kFillA,
  kLoad3dA,  // show L0A
  kLoadB = 20,
  kTransposeB,
  kLoadGmToB,
  kFillB,
  kLoad3dB,  // show L0B
  kMultiply = 30,
  kFixpipe,
  kStoreL1  // GM before and after
};

// The buffers of a core, and moves of whole images between them.
class Cube {
 public:
  __aicore__ inline Cube() {
    pipe_.InitBuffer(l1_, 3 * kImage + kIdentity + 1024);
    pipe_.InitBuffer(l0a_, kImage);
    pipe_.InitBuffer(l0b_, kImage);
    pipe_.InitBuffer(l0c_, 2 * kImage);
    pipe_.InitBuffer(bias_, 1024);
  }

  template <class T>
  __aicore__ inline LocalTensor<T> L1(uint32_t bytes) {
    return l1_.Get<uint8_t>()[bytes].template ReinterpretCast<T>();
  }
  template <class T>
  __aicore__ inline LocalTensor<T> A(uint32_t bytes = 0) {
    return l0a_.Get<uint8_t>()[bytes].template ReinterpretCast<T>();
  }
  template <class T>
  __aicore__ inline LocalTensor<T> B(uint32_t bytes = 0) {
    return l0b_.Get<uint8_t>()[bytes].template ReinterpretCast<T>();
  }
  template <class T>
  __aicore__ inline LocalTensor<T> C() {
    return l0c_.Get<uint8_t>().template ReinterpretCast<T>();
  }
  template <class T>
  __aicore__ inline LocalTensor<T> Bias() {
    return bias_.Get<uint8_t>().template ReinterpretCast<T>();
  }

  __aicore__ inline void Fetch(uint32_t l1, GM_ADDR from, uint32_t bytes) {
    GlobalTensor<uint8_t> gm;
    gm.SetGlobalBuffer(from);
    DataCopy(L1<uint8_t>(l1), gm, bytes);
    PipeBarrier<PIPE_ALL>();
  }
  __aicore__ inline void Lift(const LocalTensor<half>& l0, uint32_t l1, uint32_t fractals) {
    LoadData2DParams p;
    p.repeatTimes = static_cast<uint8_t>(fractals);
    p.srcStride = 1;
    LoadData(l0, L1<half>(l1), p);
    PipeBarrier<PIPE_ALL>();
  }

  // L0A or L0B as float: 16 columns of 512 rows, or 512 columns of 16 rows.
  __aicore__ inline void ShowA(GM_ADDR to) {
    Lift(B<half>(), kOnes, 1);
    Show(to, kFractals * 16, 16);
  }
  __aicore__ inline void ShowB(GM_ADDR to) {
    Lift(A<half>(), kOnes, 1);
    Show(to, 16, kFractals * 16);
  }
  __aicore__ inline void ShowL1(GM_ADDR to) {
    Lift(A<half>(), 0, kFractals);
    ShowA(to);
  }

  static constexpr uint32_t kOnes = 3 * kImage, kBias = kOnes + kIdentity;

 private:
  __aicore__ inline void Show(GM_ADDR to, uint32_t m, uint32_t n) {
    MmadParams p;
    p.m = static_cast<uint16_t>(m);
    p.n = static_cast<uint16_t>(n);
    p.k = 16;
    Mmad(C<float>(), A<half>(), B<half>(), p);
    PipeBarrier<PIPE_ALL>();
    GlobalTensor<float> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(to));
    FixpipeParamsV220 f;
    f.nSize = static_cast<uint16_t>(n);
    f.mSize = static_cast<uint16_t>(m);
    f.srcStride = static_cast<uint16_t>(m);
    f.dstStride = 2 * m;
    Fixpipe<float, float, CFG_NZ>(gm, C<float>(), f);
    PipeBarrier<PIPE_ALL>();
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bias_;
};

// Calls that move T; `from` is the case's first image in GM, also in L1 behind the shown one.
template <class T>
class Moves {
 public:
  __aicore__ inline Moves(Cube& cube, GM_ADDR from, const CubeCase& c) : cube_(cube), c_(c) {
    from_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(from + c.offset[1]));
  }

  __aicore__ inline void Run() {
    const uint32_t to = static_cast<uint32_t>(c_.offset[0]);
    const LocalTensor<T> l1 = cube_.L1<T>(to),
                         source = cube_.L1<T>(kImage + static_cast<uint32_t>(c_.offset[1]));
    switch (c_.op) {
      case kNd2Nz:
        DataCopy(l1, from_, Nd2NzParams(P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7)));
        break;
      case kCopyToL1:
        DataCopy(l1, from_, DataCopyParams(P(0), P(1), P(2), P(3)));
        break;
      case kFillL1:
        Constant(l1);
        break;
      case kFillA:
        Constant(cube_.A<T>(to));
        break;
      case kFillB:
        Constant(cube_.B<T>(to));
        break;
      case kLoadGmToL1:
        LoadData(l1, from_, Load2D());
        break;
      case kLoadGmToA:
        LoadData(cube_.A<T>(to), from_, Load2D());
        break;
      case kLoadGmToB:
        LoadData(cube_.B<T>(to), from_, Load2D());
        break;
      case kLoadA:
        LoadData(cube_.A<T>(to), source, Load2D());
        break;
      case kLoadB:
        LoadData(cube_.B<T>(to), source, Load2D());
        break;
      case kTransposeA:
        LoadDataWithTranspose(cube_.A<T>(to), source, Squares());
        break;
      case kTransposeB:
        LoadDataWithTranspose(cube_.B<T>(to), source, Squares());
        break;
      case kLoad3dA:
        LoadData<T>(cube_.A<T>(to), source, Load3D());
        break;
      case kLoad3dB:
        LoadData<T>(cube_.B<T>(to), source, Load3D());
        break;
      default:
        break;
    }
    PipeBarrier<PIPE_ALL>();
  }

 private:
  __aicore__ inline uint16_t P(int i) const { return static_cast<uint16_t>(c_.p[i]); }
  __aicore__ inline LoadData2DParams Load2D() const {
    return LoadData2DParams(P(0), static_cast<uint8_t>(c_.p[1]), P(2), 0, P(3), c_.p[4] != 0, 0);
  }
  __aicore__ inline LoadData2dTransposeParams Squares() const {
    return LoadData2dTransposeParams(P(0), static_cast<uint8_t>(c_.p[1]), P(2), P(3), P(4));
  }
  // l1H, l1W, channelSize, mExtension, kExtension, mStartPt, kStartPt, enTranspose
  __aicore__ inline LoadData3DParamsV2<T> Load3D() const {
    LoadData3DParamsV2<T> p;
    p.l1H = P(0);
    p.l1W = P(1);
    p.channelSize = P(2);
    p.mExtension = P(3);
    p.kExtension = P(4);
    p.mStartPt = P(5);
    p.kStartPt = P(6);
    p.enTranspose = c_.p[7] != 0;
    return p;
  }
  __aicore__ inline void Constant(const LocalTensor<T>& to) {
    if constexpr (sizeof(T) > 1) {
      Fill(to, InitConstValueParams<T>(P(0), P(1), P(2), T(static_cast<int32_t>(c_.p[3]))));
    }
  }

  Cube& cube_;
  CubeCase c_;
  GlobalTensor<T> from_;
};

// One product: p = m, n, k, k of a second, accumulated product (0: none), bias, kDirectionAlign.
template <class T, class C>
__aicore__ inline void Multiply(Cube& cube, GM_ADDR in, GM_ADDR to, const CubeCase& c) {
  cube.Fetch(0, in, kImage);
  cube.Fetch(kImage, in + kImage, kImage);
  cube.Lift(cube.A<half>(), 0, kFractals);
  cube.Lift(cube.B<half>(), kImage, kFractals);
  MmadParams p;
  p.m = static_cast<uint16_t>(c.p[0]);
  p.n = static_cast<uint16_t>(c.p[1]);
  p.k = static_cast<uint16_t>(c.p[2]);
  p.kDirectionAlign = c.p[5] != 0;
  if (c.p[4]) {
    cube.Fetch(Cube::kBias, in + 2 * kImage, 1024);
    DataCopy(cube.Bias<C>(), cube.L1<C>(Cube::kBias), 256);
    PipeBarrier<PIPE_ALL>();
    p.cmatrixInitVal = false;
    Mmad(cube.C<C>(), cube.A<T>(), cube.B<T>(), cube.Bias<C>(), p);
  } else {
    Mmad(cube.C<C>(), cube.A<T>(), cube.B<T>(), p);
  }
  if (c.p[3]) {
    PipeBarrier<PIPE_M>();
    p.cmatrixInitVal = false;
    p.k = static_cast<uint16_t>(c.p[3]);
    Mmad(cube.C<C>(), cube.A<T>(), cube.B<T>(), p);
  }
  PipeBarrier<PIPE_ALL>();
  GlobalTensor<C> gm;
  gm.SetGlobalBuffer(reinterpret_cast<__gm__ C*>(to));
  FixpipeParamsV220 f;
  f.nSize = static_cast<uint16_t>(c.p[1]);
  f.mSize = static_cast<uint16_t>(c.p[0]);
  f.srcStride = static_cast<uint16_t>((c.p[0] + 15) / 16 * 16);
  f.dstStride = static_cast<uint32_t>(c.p[1] + 3);
  Fixpipe<C, C, CFG_ROW_MAJOR>(gm, cube.C<C>(), f);
  PipeBarrier<PIPE_ALL>();
}

// L0C holds the first image as float, 256 rows of 16; p = nSize, mSize, srcStride, dstStride, ndNum,
// srcNdStride, dstNdStride, relu, channel split, NZ, atomic.
template <class D>
class Fixes {
 public:
  __aicore__ inline Fixes(Cube& cube, const CubeCase& c) : cube_(cube), c_(c) {
    f_.nSize = static_cast<uint16_t>(c.p[0]);
    f_.mSize = static_cast<uint16_t>(c.p[1]);
    f_.srcStride = static_cast<uint16_t>(c.p[2]);
    f_.dstStride = static_cast<uint32_t>(c.p[3]);
    f_.ndNum = static_cast<uint16_t>(c.p[4]);
    f_.srcNdStride = static_cast<uint16_t>(c.p[5]);
    f_.dstNdStride = static_cast<uint16_t>(c.p[6]);
    f_.reluEn = c.p[7] != 0;
    f_.isChannelSplit = c.p[8] != 0;
    f_.quantPre = sizeof(D) == 4 ? NoQuant : std::is_same<D, half>::value ? F322F16 : F322BF16;
  }

  __aicore__ inline void ToGm(GM_ADDR in, GM_ADDR to) {
    Prepare(in);
    GlobalTensor<D> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ D*>(to + c_.offset[0]));
    if (c_.p[10]) SetAtomicAdd<D>();
    if (c_.p[9]) {
      Fixpipe<D, float, CFG_NZ>(gm, Source(), f_);
    } else {
      Fixpipe<D, float, CFG_ROW_MAJOR>(gm, Source(), f_);
    }
    if (c_.p[10]) SetAtomicNone();
    PipeBarrier<PIPE_ALL>();
  }

  // The second image lies in L1 before.
  __aicore__ inline void ToL1(GM_ADDR in) {
    Prepare(in);
    cube_.Fetch(0, in + kImage, kImage);
    if constexpr (sizeof(D) == 2) {
      Fixpipe<D, float, CFG_NZ>(cube_.L1<D>(static_cast<uint32_t>(c_.offset[0])), Source(), f_);
    }
    PipeBarrier<PIPE_ALL>();
  }

 private:
  __aicore__ inline LocalTensor<float> Source() {
    return cube_.C<float>()[static_cast<uint32_t>(c_.offset[1]) / sizeof(float)];
  }
  __aicore__ inline void Prepare(GM_ADDR in) {
    cube_.Fetch(kImage, in, kImage);
    cube_.Lift(cube_.A<half>(), kImage, kFractals);
    cube_.Lift(cube_.B<half>(), Cube::kOnes + kFractalBytes, 2);
    MmadParams p;
    p.m = 256;
    p.n = 16;
    p.k = 16;
    Mmad(cube_.C<float>(), cube_.A<float>(), cube_.B<float>(), p);
    PipeBarrier<PIPE_ALL>();
  }

  Cube& cube_;
  CubeCase c_;
  FixpipeParamsV220 f_;
};

// The first image lies in L1; p = blockCount, blockLen, gaps, atomic.
template <class T>
__aicore__ inline void StoreL1(Cube& cube, GM_ADDR in, GM_ADDR to, const CubeCase& c) {
  cube.Fetch(0, in, kImage);
  GlobalTensor<T> gm;
  gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(to + c.offset[0]));
  const DataCopyParams p(static_cast<uint16_t>(c.p[0]), static_cast<uint16_t>(c.p[1]),
                         static_cast<uint16_t>(c.p[2]), static_cast<uint16_t>(c.p[3]));
  if (c.p[4]) SetAtomicAdd<T>();
  DataCopy(gm, cube.L1<T>(static_cast<uint32_t>(c.offset[1])), p);
  if (c.p[4]) SetAtomicNone();
  PipeBarrier<PIPE_ALL>();
}

// in: three images a case; out: what is shown, or GM before and after.
template <class T, class C, class D>
__aicore__ inline void ForCases(GM_ADDR in, GM_ADDR identity, GM_ADDR out, GM_ADDR cases) {
  Cube cube;
  cube.Fetch(Cube::kOnes, identity, kIdentity);
  for (uint64_t i = 0;; ++i) {
    GET_TILING_DATA_WITH_STRUCT(CubeCase, c, cases + i * sizeof(CubeCase));
    if (c.op < 0) break;
    GM_ADDR first = in + i * 3 * kImage;
    GM_ADDR shown = out + i * kShown;
    if (c.op == kMultiply) {
      Multiply<T, C>(cube, first, shown, c);
      continue;
    }
    if (c.op == kFixpipe) {
      Fixes<D>(cube, c).ToGm(first, shown);
      continue;
    }
    if (c.op == kStoreL1) {
      StoreL1<T>(cube, first, shown, c);
      continue;
    }
    if (c.op == kFixToL1) {
      Fixes<D>(cube, c).ToL1(first);
      cube.ShowL1(shown);
      continue;
    }
    cube.Fetch(0, first + kImage, kImage);
    if (c.op >= kLoadB) {
      cube.Lift(cube.B<half>(), 0, kFractals);
    } else if (c.op >= kLoadA) {
      cube.Lift(cube.A<half>(), 0, kFractals);
    }
    cube.Fetch(kImage, first, kImage);
    Moves<T>(cube, first, c).Run();
    c.op >= kLoadB ? cube.ShowB(shown) : c.op >= kLoadA ? cube.ShowA(shown) : cube.ShowL1(shown);
  }
}

// T moves and multiplies, C is the product's type, D what Fixpipe makes of float.
#define CUBE_ENTRY(T, C, D)                                                                                  \
  extern "C" __global__ __aicore__ void cube_##T(GM_ADDR in, GM_ADDR identity, GM_ADDR out, GM_ADDR cases) { \
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);                                                          \
    if ASCEND_IS_AIC {                                                                                       \
      ForCases<T, C, D>(in, identity, out, cases);                                                           \
    }                                                                                                        \
  }

CUBE_ENTRY(half, float, half)
CUBE_ENTRY(bfloat16_t, float, bfloat16_t)
CUBE_ENTRY(float, float, float)
CUBE_ENTRY(int8_t, int32_t, half)
