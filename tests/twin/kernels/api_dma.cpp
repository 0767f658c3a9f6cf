// SPDX-License-Identifier: Apache-2.0
// DMA between GM and UB and inside UB: each case has its own image of both, given to one call, both returned.
#include "api_image.h"

using namespace AscendC;

constexpr uint32_t kImage = 8192;

enum Op {
  kLoad,
  kLoadCount,
  kLoadPad,
  kLoadPadOld,
  kStore,
  kStoreCount,
  kStorePad,
  kStorePadOld,
  kInside,
  kInsideCount
};

// p: blockCount, blockLen, source and destination gap or stride, paddings; bits: isPad, padding value.
template <class T>
class Dma {
 public:
  __aicore__ inline Dma(const LocalTensor<uint8_t>& image, GM_ADDR gm, const ApiCase& c)
      : c_(c), dst_(At<T>(image, c.dst)), src_(At<T>(image, c.src0)) {
    gm_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm + c.src1));
  }

  __aicore__ inline void Run() {
    const DataCopyParams blocks(c_.p[0], c_.p[1], c_.p[2], c_.p[3]);
    const DataCopyExtParams bytes(c_.p[0], c_.p[1], c_.p[2], c_.p[3], 0);
    const uint32_t count = static_cast<uint32_t>(c_.n);
    const uint64_t value = static_cast<uint64_t>(c_.bits[1]);
    switch (c_.op) {
      case kLoad:
        DataCopy(dst_, gm_, blocks);
        break;
      case kLoadCount:
        DataCopy(dst_, gm_, count);
        break;
      case kLoadPad:
        DataCopyPad(
            dst_, gm_, bytes,
            DataCopyPadExtParams<T>(c_.bits[0] != 0, c_.p[4], c_.p[5], T(static_cast<int8_t>(value))));
        break;
      case kLoadPadOld:
        DataCopyPad(dst_, gm_, blocks, DataCopyPadParams(c_.bits[0] != 0, c_.p[4], c_.p[5], value));
        break;
      case kInside:
        DataCopy(dst_, src_, blocks);
        break;
      case kInsideCount:
        DataCopy(dst_, src_, count);
        break;
      default:
        Store(blocks, bytes, count);
    }
  }

 private:
  // form 1: atomic add.
  __aicore__ inline void Store(const DataCopyParams& blocks, const DataCopyExtParams& bytes, uint32_t count) {
    if (c_.form) SetAtomicAdd<T>();
    switch (c_.op) {
      case kStore:
        DataCopy(gm_, src_, blocks);
        break;
      case kStoreCount:
        DataCopy(gm_, src_, count);
        break;
      case kStorePad:
        DataCopyPad(gm_, src_, bytes);
        break;
      case kStorePadOld:
        DataCopyPad(gm_, src_, blocks);
        break;
      default:
        break;
    }
    if (c_.form) SetAtomicNone();
  }

  ApiCase c_;
  LocalTensor<T> dst_, src_;
  GlobalTensor<T> gm_;
};

template <class T>
__aicore__ inline void ForPairs(GM_ADDR ub_in, GM_ADDR ub_out, GM_ADDR gm, GM_ADDR cases) {
  TPipe pipe;
  TBuf<TPosition::VECIN> buffer;
  pipe.InitBuffer(buffer, kImage);
  LocalTensor<uint8_t> image = buffer.Get<uint8_t>();
  GlobalTensor<uint8_t> from, to;
  from.SetGlobalBuffer(ub_in);
  to.SetGlobalBuffer(ub_out);
  for (uint64_t i = 0;; ++i) {
    GET_TILING_DATA_WITH_STRUCT(ApiCase, c, cases + i * sizeof(ApiCase));
    if (c.op < 0) break;
    DataCopy(image, from[i * kImage], kImage);
    PipeBarrier<PIPE_ALL>();
    Dma<T>(image, gm + i * kImage, c).Run();
    PipeBarrier<PIPE_ALL>();
    DataCopy(to[i * kImage], image, kImage);
    PipeBarrier<PIPE_ALL>();
  }
}

#define DMA_ENTRY(T)                                                                                        \
  extern "C" __global__ __aicore__ void dma_##T(GM_ADDR ub_in, GM_ADDR ub_out, GM_ADDR gm, GM_ADDR cases) { \
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);                                                         \
    if ASCEND_IS_AIV {                                                                                      \
      ForPairs<T>(ub_in, ub_out, gm, cases);                                                                \
    }                                                                                                       \
  }

DMA_ENTRY(float)
DMA_ENTRY(half)
DMA_ENTRY(bfloat16_t)
DMA_ENTRY(int32_t)
DMA_ENTRY(int16_t)
DMA_ENTRY(int8_t)
DMA_ENTRY(int64_t)
