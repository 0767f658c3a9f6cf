// SPDX-License-Identifier: Apache-2.0
// UB as DataCopy's documents want it: GM -> VECIN and VECOUT -> GM. DataCopyPad takes both positions on
// either way, the vector unit any, so that what never leaves UB lies where there is room.
#pragma once

#include "integers.h"
#include "kernel_operator.h"

namespace ms_nsa {

constexpr int32_t kUbBytes = 184 * 1024;  // what Select reserves lies behind

class UnifiedBuffer {
 public:
  __aicore__ inline void Init(AscendC::TPipe& pipe, int32_t in_bytes, int32_t out_bytes) {
    pipe.InitBuffer(in_, in_bytes);
    pipe.InitBuffer(out_, out_bytes);
  }

  // Elements [0, count) from byte `at` on of the half that is loaded from GM, or of the one that is stored
  // there.
  template <class E>
  __aicore__ inline AscendC::LocalTensor<E> In(int32_t at, int32_t count) {
    return in_.template GetWithOffset<E>(count, at);
  }
  template <class E>
  __aicore__ inline AscendC::LocalTensor<E> Out(int32_t at, int32_t count) {
    return out_.template GetWithOffset<E>(count, at);
  }

 private:
  AscendC::TBuf<AscendC::TPosition::VECIN> in_;
  AscendC::TBuf<AscendC::TPosition::VECOUT> out_;
};

}  // namespace ms_nsa
