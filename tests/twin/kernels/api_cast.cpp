// SPDX-License-Identifier: Apache-2.0
// Cast between every pair of types that dav-2201 converts, in every form.
#include "api_image.h"

using namespace AscendC;

constexpr uint32_t kImage = 16384;

template <class D, class S>
struct CastBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    const LocalTensor<D> dst = At<D>(image, c.dst);
    const LocalTensor<S> src = At<S>(image, c.src0);
    const RoundMode mode = static_cast<RoundMode>(c.op);
    const UnaryRepeatParams params(c.block[0], c.block[1], c.step[0], c.step[1]);
    const uint8_t repeat = static_cast<uint8_t>(c.repeat);
    uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])};
    if (c.form == kCount) {
      Cast(dst, src, mode, static_cast<uint32_t>(c.n));
    } else if (c.form == kPrefix) {
      Cast(dst, src, mode, static_cast<uint64_t>(c.n), repeat, params);
    } else if (c.form == kBits) {
      Cast(dst, src, mode, bits, repeat, params);
    } else {
      SetMaskCount();
      SetVectorMask<D, MaskMode::COUNTER>(0, static_cast<uint64_t>(c.n));
      Cast<D, S, false>(dst, src, mode, MASK_PLACEHOLDER, 1, params);
      SetMaskNorm();
      ResetMask();
    }
  }
};

#define CAST_ENTRY(Src, Dst, S, D)     \
  using Src##To##Dst = CastBody<D, S>; \
  API_ENTRY(cast_##Src##_##Dst, Src##To##Dst, kImage)

CAST_ENTRY(float16, float32, half, float)
CAST_ENTRY(float16, int32, half, int32_t)
CAST_ENTRY(float16, int16, half, int16_t)
CAST_ENTRY(float16, int8, half, int8_t)
CAST_ENTRY(float16, uint8, half, uint8_t)
CAST_ENTRY(float32, float16, float, half)
CAST_ENTRY(float32, bfloat16, float, bfloat16_t)
CAST_ENTRY(float32, float32, float, float)
CAST_ENTRY(float32, int64, float, int64_t)
CAST_ENTRY(float32, int32, float, int32_t)
CAST_ENTRY(float32, int16, float, int16_t)
CAST_ENTRY(bfloat16, float32, bfloat16_t, float)
CAST_ENTRY(bfloat16, int32, bfloat16_t, int32_t)
CAST_ENTRY(int8, float16, int8_t, half)
CAST_ENTRY(uint8, float16, uint8_t, half)
CAST_ENTRY(int16, float16, int16_t, half)
CAST_ENTRY(int16, float32, int16_t, float)
CAST_ENTRY(int32, float32, int32_t, float)
CAST_ENTRY(int32, int64, int32_t, int64_t)
CAST_ENTRY(int32, int16, int32_t, int16_t)
CAST_ENTRY(int64, int32, int64_t, int32_t)
CAST_ENTRY(int64, float32, int64_t, float)
