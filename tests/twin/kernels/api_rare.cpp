// SPDX-License-Identifier: Apache-2.0
// Single calls of the less common API: compaction, masked Gather and reductions, queues of depth 0,
// InitOutput, scalar access, LoadData with 3D parameters, a bias from the BiasTable, cleared unit flags. The
// test states each in NumPy.
#include "kernel_operator.h"

using namespace AscendC;

struct RareTiling {
  int64_t op;
  int64_t p[8];
  uint64_t bits[2];
};

constexpr uint32_t kElements = 2048, kWords = 1024;

// W: unsigned, as wide as T.
template <class T, class W>
class RareVector {
 public:
  __aicore__ inline void Run(GM_ADDR x, GM_ADDR u, GM_ADDR out, GM_ADDR count, const RareTiling& t) {
    t_ = t;
    x_.SetGlobalBuffer((__gm__ T*)x, kElements);
    u_.SetGlobalBuffer((__gm__ uint32_t*)u, kWords);
    out_.SetGlobalBuffer((__gm__ T*)out, kElements);
    count_.SetGlobalBuffer((__gm__ int32_t*)count, 16);
    pipe_.InitBuffer(in_, 1, kElements * sizeof(T));
    pipe_.InitBuffer(words_, kWords * sizeof(uint32_t));
    pipe_.InitBuffer(result_, kElements * sizeof(T));
    pipe_.InitBuffer(tmp_, 512);
    LocalTensor<T> src;
    in_.AllocTensor(src);
    DataCopy(src, x_, kElements);
    DataCopy(words_.Get<uint32_t>(), u_, kWords);
    in_.EnQue(src);
    in_.DeQue(src);
    Duplicate(result_.Get<T>(), T(0), static_cast<int32_t>(kElements));
    PipeBarrier<PIPE_ALL>();
    if (t_.op < 8) {
      Call(result_.Get<T>(), src);
    } else {
      Fill(result_.Get<T>(), src);
    }
    PipeBarrier<PIPE_ALL>();
    if (t_.op != 8) DataCopy(out_, result_.Get<T>(), kElements);
    count_.SetValue(0, static_cast<int32_t>(kept_));
    DataCacheCleanAndInvalid<int32_t, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(count_);
    in_.FreeTensor(src);
  }

 private:
  __aicore__ inline void Call(const LocalTensor<T>& dst, const LocalTensor<T>& src) {
    const LocalTensor<uint32_t> words = words_.Get<uint32_t>();
    const LocalTensor<W> bits = words_.Get<W>();
    const LocalTensor<T> tmp = tmp_.Get<T>();
    const int32_t mask = static_cast<int32_t>(t_.p[0]), repeat = static_cast<int32_t>(t_.p[1]);
    const int32_t stride = static_cast<int32_t>(t_.p[2]);
    const bool index = t_.p[3] != 0;
    const uint64_t elements = static_cast<uint64_t>(mask);
    const uint8_t repeats = static_cast<uint8_t>(repeat);
    const uint16_t step = static_cast<uint16_t>(stride);
    GatherMaskParams g(static_cast<uint8_t>(t_.p[4]), static_cast<uint16_t>(repeat), step,
                       static_cast<uint8_t>(t_.p[5]));
    switch (t_.op) {
      case 0:
        GatherMask(dst, src, static_cast<uint8_t>(t_.p[6]), index, static_cast<uint32_t>(mask), g, kept_);
        break;
      case 1:
        GatherMask(dst, src, bits, index, static_cast<uint32_t>(mask), g, kept_);
        break;
      case 2:
        Gather(dst, src, words, static_cast<uint32_t>(t_.p[6]), elements, repeats, step);
        break;
      case 3:
        Gather(dst, src, words, static_cast<uint32_t>(t_.p[6]), t_.bits, repeats, step);
        break;
      case 4:
        ReduceMax(dst, src, tmp, mask, repeat, stride, index);
        break;
      case 5:
        ReduceMin(dst, src, tmp, t_.bits, repeat, stride, index);
        break;
      case 6:
        ReduceSum(dst, src, tmp, mask, repeat, stride);
        break;
      default:
        ReduceSum(dst, src, tmp, t_.bits, repeat, stride);
        break;
    }
  }

  // p: count, first value; or places of 8 elements from where they come and where they go.
  __aicore__ inline void Fill(const LocalTensor<T>& dst, const LocalTensor<T>& src) {
    const T value = T(static_cast<float>(t_.p[1]));
    if (t_.op == 8) {
      InitOutput<T>(out_, kElements, T(0.0f));
      PipeBarrier<PIPE_ALL>();
      InitOutput<T>(out_[static_cast<uint64_t>(t_.p[2])], static_cast<uint32_t>(t_.p[0]), value);
    } else if (t_.op == 9) {
      CreateVecIndex(dst, value, static_cast<uint32_t>(t_.p[0]));
    } else {
      for (int i = 0; i < 8; ++i) {
        const uint32_t place = static_cast<uint32_t>(t_.p[i]);
        dst.SetValue(place >> 16, src.GetValue(place & 0xffff));
      }
    }
  }

  TPipe pipe_;
  TQue<TPosition::VECIN, 0> in_;
  TBuf<TPosition::VECIN> words_;
  TBuf<TPosition::VECOUT> result_;
  TBuf<TPosition::VECCALC> tmp_;
  GlobalTensor<T> x_, out_;
  GlobalTensor<uint32_t> u_;
  GlobalTensor<int32_t> count_;
  RareTiling t_;
  uint64_t kept_ = 0;
};

// c = a b + bias with both operands loaded by 3D parameters; m, n and k need not be multiples of 16.
class RareCube {
 public:
  __aicore__ inline void Run(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR c, const RareTiling& t) {
    m_ = static_cast<uint16_t>(t.p[0]);
    n_ = static_cast<uint16_t>(t.p[1]);
    k_ = static_cast<uint16_t>(t.p[2]);
    transposed_ = t.p[3] != 0;
    a_.SetGlobalBuffer((__gm__ half*)a, uint64_t{m_} * k_);
    b_.SetGlobalBuffer((__gm__ half*)b, uint64_t{k_} * n_);
    bias_.SetGlobalBuffer((__gm__ float*)bias, Up(n_));
    c_.SetGlobalBuffer((__gm__ float*)c, uint64_t{m_} * n_);
    pipe_.InitBuffer(l1_, (Up(m_) + Up(n_)) * Up(k_) * 2 + Up(n_) * 4);
    pipe_.InitBuffer(l0a_, Up(m_) * Up(k_) * 2);
    pipe_.InitBuffer(l0b_, Up(n_) * Up(k_) * 2);
    pipe_.InitBuffer(l0c_, Up(m_) * Up(n_) * 4);
    pipe_.InitBuffer(bt_, Up(n_) * 4);
    ToL1();
    PipeBarrier<PIPE_ALL>();
    ToL0();
    PipeBarrier<PIPE_ALL>();
    Multiply(t.p[4] != 0);
  }

 private:
  __aicore__ inline static uint32_t Up(uint32_t v) { return (v + 15) / 16 * 16; }

  __aicore__ inline void ToL1() {
    left_ = l1_.Get<half>();
    right_ = left_[Up(m_) * Up(k_)];
    wide_ = right_[Up(n_) * Up(k_)].ReinterpretCast<float>();
    const uint16_t rows = transposed_ ? k_ : m_, columns = transposed_ ? m_ : k_;
    DataCopy(left_, a_, Nd2NzParams(1, rows, columns, 0, columns, rows, 1, 0));
    DataCopy(right_, b_, Nd2NzParams(1, k_, n_, 0, n_, k_, 1, 0));
    DataCopy(wide_, bias_, Up(n_));
  }

  __aicore__ inline void ToL0() {
    LoadData3DParamsV2<half> p;
    p.l1H = 1;
    p.l1W = transposed_ ? k_ : m_;
    p.channelSize = Up(transposed_ ? m_ : k_);
    p.mExtension = p.l1W;
    p.kExtension = p.channelSize;
    p.enTranspose = transposed_;
    LoadData<half>(l0a_.Get<half>(), left_, p);
    LoadData3DParamsV2<half> q;
    q.l1H = 1;
    q.l1W = k_;
    q.channelSize = Up(n_);
    q.mExtension = k_;
    q.kExtension = Up(n_);
    LoadData<half>(l0b_.Get<half>(), right_, q);
    DataCopy(bt_.Get<float>(), wide_, Up(n_));
  }

  // Unit flags that an earlier kernel left set would block the first Mmad: SetFixPipeConfig clears them.
  __aicore__ inline void Multiply(bool leave_flags) {
    LocalTensor<float> c = l0c_.Get<float>();
    MmadParams p(m_, n_, k_, 0, true, false);
    if (leave_flags) {
      p.unitFlag = 3;
      Mmad(c, l0a_.Get<half>(), l0b_.Get<half>(), bt_.Get<float>(), p);
      PipeBarrier<PIPE_ALL>();
      SetFixPipeConfig<float>(c, true);
      p.unitFlag = 0;
    }
    Mmad(c, l0a_.Get<half>(), l0b_.Get<half>(), bt_.Get<float>(), p);
    PipeBarrier<PIPE_ALL>();
    FixpipeParamsV220 f(n_, m_, static_cast<uint16_t>(Up(m_)), n_, false);
    Fixpipe<float, float, CFG_ROW_MAJOR>(c_, c, f);
  }

  TPipe pipe_;
  TBuf<TPosition::A1> l1_;
  TBuf<TPosition::A2> l0a_;
  TBuf<TPosition::B2> l0b_;
  TBuf<TPosition::CO1> l0c_;
  TBuf<TPosition::C2> bt_;
  GlobalTensor<half> a_, b_;
  GlobalTensor<float> bias_, c_;
  LocalTensor<half> left_, right_;
  LocalTensor<float> wide_;
  uint16_t m_ = 0, n_ = 0, k_ = 0;
  bool transposed_ = false;
};

extern "C" __global__ __aicore__ void api_rare_float(GM_ADDR x, GM_ADDR u, GM_ADDR out, GM_ADDR count,
                                                     GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(RareTiling, data, tiling);
  if ASCEND_IS_AIV {
    RareVector<float, uint32_t> op;
    op.Run(x, u, out, count, data);
  }
}

extern "C" __global__ __aicore__ void api_rare_half(GM_ADDR x, GM_ADDR u, GM_ADDR out, GM_ADDR count,
                                                    GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(RareTiling, data, tiling);
  if ASCEND_IS_AIV {
    RareVector<half, uint16_t> op;
    op.Run(x, u, out, count, data);
  }
}

extern "C" __global__ __aicore__ void api_rare_cube(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR c,
                                                    GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  GET_TILING_DATA_WITH_STRUCT(RareTiling, data, tiling);
  if ASCEND_IS_AIC {
    RareCube op;
    op.Run(a, b, bias, c, data);
  }
}
