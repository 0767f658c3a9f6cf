// SPDX-License-Identifier: Apache-2.0
// Many API calls in one launch. Each case has its own image of UB: loaded from GM, given to one call, stored
// to GM. The test states in NumPy what the call does to the whole image. Offsets are in bytes.
#pragma once

#include "kernel_operator.h"

struct ApiCase {
  int64_t op;    // negative: no more cases
  int64_t form;  // ApiForm
  int64_t dst, src0, src1;
  int64_t n;        // mask, or elements in the count and counter forms
  int64_t bits[2];  // mask of the bit form
  int64_t repeat;
  int64_t block[3], step[3];  // block and repeat strides: dst, src0, src1
  int64_t p[6];
};

enum ApiForm { kCount, kPrefix, kBits, kCounter, kPreset };

template <class T>
__aicore__ inline AscendC::LocalTensor<T> At(const AscendC::LocalTensor<uint8_t>& image, int64_t offset) {
  return image[static_cast<uint32_t>(offset)].template ReinterpretCast<T>();
}

// Body<T>::Run(image, case) makes the call.
template <class Body, uint32_t bytes>
__aicore__ inline void ForImages(GM_ADDR in, GM_ADDR out, GM_ADDR cases) {
  using namespace AscendC;
  TPipe pipe;
  TBuf<TPosition::VECIN> buffer;
  pipe.InitBuffer(buffer, bytes);
  LocalTensor<uint8_t> image = buffer.Get<uint8_t>();
  GlobalTensor<uint8_t> from, to;
  from.SetGlobalBuffer(in);
  to.SetGlobalBuffer(out);
  for (uint64_t i = 0;; ++i) {
    GET_TILING_DATA_WITH_STRUCT(ApiCase, c, cases + i * sizeof(ApiCase));
    if (c.op < 0) break;
    DataCopy(image, from[i * bytes], bytes);
    SetFlag<HardEvent::MTE2_V>(0);
    WaitFlag<HardEvent::MTE2_V>(0);
    Body::Run(image, c);
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    DataCopy(to[i * bytes], image, bytes);
    SetFlag<HardEvent::MTE3_MTE2>(0);
    WaitFlag<HardEvent::MTE3_MTE2>(0);
  }
}

// An AIV_ONLY entry that runs Body on images of `bytes`.
#define API_ENTRY(name, Body, bytes)                                                   \
  extern "C" __global__ __aicore__ void name(GM_ADDR in, GM_ADDR out, GM_ADDR cases) { \
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);                                    \
    if ASCEND_IS_AIV {                                                                 \
      ForImages<Body, bytes>(in, out, cases);                                          \
    }                                                                                  \
  }
