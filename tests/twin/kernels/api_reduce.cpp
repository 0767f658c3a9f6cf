// SPDX-License-Identifier: Apache-2.0
// Reductions on images of UB: over repeats, blocks, pairs and whole vectors.
#include "api_image.h"

using namespace AscendC;

constexpr uint32_t kImage = 12288;

enum Op {
  kWholeMax,
  kWholeMin,
  kWholeSum,
  kBlockMax,
  kBlockMin,
  kBlockSum,
  kPairSum,
  kReduceMax,
  kReduceMin,
  kReduceSum
};

// The mask as a count or as bits.
#define WHOLE(Name, ...)                                                            \
  c.form == kBits ? Name(dst, src, bits, times, step, block, stride, ##__VA_ARGS__) \
                  : Name(dst, src, static_cast<int32_t>(c.n), times, step, block, stride, ##__VA_ARGS__);
#define GROUPS(Name)                                                 \
  c.form == kBits ? Name(dst, src, times, bits, step, block, stride) \
                  : Name(dst, src, times, static_cast<int32_t>(c.n), step, block, stride);

template <class T>
struct ReduceBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    const LocalTensor<T> dst = At<T>(image, c.dst), src = At<T>(image, c.src0), tmp = At<T>(image, c.src1);
    const uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])};
    const int32_t times = c.repeat, step = c.step[0], block = c.block[1], stride = c.step[1];
    const int32_t count = static_cast<int32_t>(c.n);
    const ReduceOrder order = static_cast<ReduceOrder>(c.p[0]);
    switch (c.op) {
      case kWholeMax:
        WHOLE(WholeReduceMax, order) break;
      case kWholeMin:
        WHOLE(WholeReduceMin, order) break;
      case kWholeSum:
        WHOLE(WholeReduceSum) break;
      case kBlockMax:
        GROUPS(BlockReduceMax) break;
      case kBlockMin:
        GROUPS(BlockReduceMin) break;
      case kBlockSum:
        GROUPS(BlockReduceSum) break;
      case kPairSum:
        GROUPS(PairReduceSum) break;
      case kReduceMax:
        ReduceMax(dst, src, tmp, count, c.p[0] != 0);
        break;
      case kReduceMin:
        ReduceMin(dst, src, tmp, count, c.p[0] != 0);
        break;
      case kReduceSum:
        ReduceSum(dst, src, tmp, count);
        break;
      default:
        break;
    }
  }
};

API_ENTRY(reduce_float, ReduceBody<float>, kImage)
API_ENTRY(reduce_half, ReduceBody<half>, kImage)
