// SPDX-License-Identifier: Apache-2.0
// Compare, Select, Gather and transposes on images of UB.
#include "api_image.h"

using namespace AscendC;

constexpr uint32_t kImage = 16384;

enum Op { kCompare, kCompares, kSelect, kGather, kTranspose, kTo5HD };

__aicore__ inline BinaryRepeatParams Params(const ApiCase& c) {
  return BinaryRepeatParams(c.block[0], c.block[1], c.block[2], c.step[0], c.step[1], c.step[2]);
}

template <class T>
__aicore__ inline void RunCompare(const LocalTensor<uint8_t>& image, const ApiCase& c) {
  const LocalTensor<uint8_t> dst = At<uint8_t>(image, c.dst);
  const LocalTensor<T> a = At<T>(image, c.src0), b = At<T>(image, c.src1);
  const CMPMODE mode = static_cast<CMPMODE>(c.p[0]);
  const uint8_t times = static_cast<uint8_t>(c.repeat);
  const uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])};
  const UnaryRepeatParams unary(c.block[0], c.block[1], c.step[0], c.step[1]);
  const T scalar = T(static_cast<int32_t>(c.p[1]));
  if (c.op == kCompare && c.form == kCount) {
    Compare(dst, a, b, mode, static_cast<uint32_t>(c.n));
  } else if (c.op == kCompare && c.form == kPrefix) {
    Compare(dst, a, b, mode, static_cast<uint64_t>(c.n), times, Params(c));
  } else if (c.op == kCompare) {
    Compare(dst, a, b, mode, bits, times, Params(c));
  } else if (c.form == kCount) {
    CompareScalar(dst, a, scalar, mode, static_cast<uint32_t>(c.n));
  } else if (c.form == kPrefix) {
    Compares(dst, a, scalar, mode, static_cast<uint64_t>(c.n), times, unary);
  } else {
    Compares(dst, a, scalar, mode, bits, times, unary);
  }
}

// Other: the second operand, a tensor or a scalar.
template <class T, class Other>
__aicore__ inline void RunSelect(const LocalTensor<uint8_t>& image, const ApiCase& c, const Other& other) {
  const LocalTensor<T> dst = At<T>(image, c.dst), a = At<T>(image, c.src0);
  const LocalTensor<uint8_t> select = At<uint8_t>(image, c.p[2]);
  const SELMODE mode = static_cast<SELMODE>(c.p[0]);
  const uint8_t times = static_cast<uint8_t>(c.repeat);
  uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])};
  if (c.form == kCount) {
    Select(dst, select, a, other, mode, static_cast<uint32_t>(c.n));
  } else if (c.form == kPrefix) {
    Select(dst, select, a, other, mode, static_cast<uint64_t>(c.n), times, Params(c));
  } else {
    Select(dst, select, a, other, mode, bits, times, Params(c));
  }
}

template <class T>
__aicore__ inline void RunTo5HD(const LocalTensor<uint8_t>& image, const ApiCase& c) {
  LocalTensor<T> dst[16], src[16];
  for (int64_t i = 0; i < 16; ++i) {
    dst[i] = At<T>(image, c.dst + i * c.p[0] * 32);
    src[i] = At<T>(image, c.src0 + i * c.p[1] * 32);
  }
  TransDataTo5HD(dst, src,
                 TransDataTo5HDParams(false, false, static_cast<uint8_t>(c.repeat),
                                      static_cast<uint16_t>(c.step[0]), static_cast<uint16_t>(c.step[1])));
}

// One 16 x 16 square of 16-bit elements.
template <class T>
__aicore__ inline void RunTranspose(const LocalTensor<uint8_t>& image, const ApiCase& c) {
  if constexpr (sizeof(T) == 2) Transpose(At<T>(image, c.dst), At<T>(image, c.src0));
}

template <class T>
__aicore__ inline void RunMoves(const LocalTensor<uint8_t>& image, const ApiCase& c) {
  if (c.op == kGather) {
    Gather(At<T>(image, c.dst), At<T>(image, c.src0), At<uint32_t>(image, c.src1),
           static_cast<uint32_t>(c.p[0]), static_cast<uint32_t>(c.n));
  } else if (c.op == kTo5HD) {
    RunTo5HD<T>(image, c);
  }
}

template <class T>
struct FloatBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    if (c.op == kCompare || c.op == kCompares) {
      RunCompare<T>(image, c);
    } else if (c.op == kTranspose) {
      RunTranspose<T>(image, c);
    } else if (c.op != kSelect) {
      RunMoves<T>(image, c);
    } else if (static_cast<SELMODE>(c.p[0]) == SELMODE::VSEL_TENSOR_SCALAR_MODE) {
      RunSelect<T>(image, c, T(static_cast<int32_t>(c.p[1])));
    } else {
      RunSelect<T>(image, c, At<T>(image, c.src1));
    }
  }
};

struct Int32Body {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    c.op <= kCompares ? RunCompare<int32_t>(image, c) : RunMoves<int32_t>(image, c);
  }
};

struct Int16Body {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    c.op == kTranspose ? RunTranspose<int16_t>(image, c) : RunMoves<int16_t>(image, c);
  }
};

struct Bfloat16Body {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    Gather(At<bfloat16_t>(image, c.dst), At<bfloat16_t>(image, c.src0), At<uint32_t>(image, c.src1),
           static_cast<uint32_t>(c.p[0]), static_cast<uint32_t>(c.n));
  }
};

API_ENTRY(permute_float, FloatBody<float>, kImage)
API_ENTRY(permute_half, FloatBody<half>, kImage)
API_ENTRY(permute_int32, Int32Body, kImage)
API_ENTRY(permute_int16, Int16Body, kImage)
API_ENTRY(permute_bfloat16, Bfloat16Body, kImage)
