// SPDX-License-Identifier: Apache-2.0
// y = scale_value * x, a tile of 64 numbers after the other, dealt out to the cores.
#pragma once

#include "kernel_operator.h"
#include "toy_scale_params.h"

namespace ms_nsa {

__aicore__ inline void ScaleTiles(GM_ADDR x, GM_ADDR y, const ToyScaleParams& params) {
  constexpr uint32_t kTile = 64;
  AscendC::TPipe pipe;
  AscendC::TQue<AscendC::TPosition::VECIN, 1> in;
  AscendC::TQue<AscendC::TPosition::VECOUT, 1> out;
  pipe.InitBuffer(in, 2, kTile * sizeof(half));
  pipe.InitBuffer(out, 2, kTile * sizeof(half));
  AscendC::GlobalTensor<half> from, to;
  from.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(x), params.size);
  to.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(y), params.size);
  for (int64_t begin = AscendC::GetBlockIdx() * kTile; begin < params.size;
       begin += AscendC::GetBlockNum() * kTile) {
    const int64_t rest = params.size - begin;
    const uint32_t count = rest < kTile ? static_cast<uint32_t>(rest) : kTile;
    const AscendC::DataCopyExtParams copy{1, static_cast<uint32_t>(count * sizeof(half)), 0, 0, 0};
    AscendC::LocalTensor<half> given = in.AllocTensor<half>();
    AscendC::DataCopyPad(given, from[begin], copy, AscendC::DataCopyPadExtParams<half>{false, 0, 0, half(0)});
    in.EnQue(given);
    given = in.DeQue<half>();
    AscendC::LocalTensor<half> scaled = out.AllocTensor<half>();
    AscendC::Muls(scaled, given, static_cast<half>(params.scale_value), static_cast<int32_t>(count));
    in.FreeTensor(given);
    out.EnQue(scaled);
    scaled = out.DeQue<half>();
    AscendC::DataCopyPad(to[begin], scaled, copy);
    out.FreeTensor(scaled);
  }
}

}  // namespace ms_nsa
