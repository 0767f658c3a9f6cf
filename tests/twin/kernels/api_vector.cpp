// SPDX-License-Identifier: Apache-2.0
// Element-wise vector API on images of UB, in the count form, with masks by count and by bits, in counter
// mode and with a mask set before.
#include "api_image.h"

using namespace AscendC;

constexpr uint32_t kImage = 12288;

// One call in the form that the case asks for. `...` are the operands.
#define IN_FORM(T, Name, Params, ...)                                                        \
  if (c.form == kCount) {                                                                    \
    Name(__VA_ARGS__, static_cast<int32_t>(c.n));                                            \
  } else if (c.form == kPrefix) {                                                            \
    Name(__VA_ARGS__, Prefix(c), Times(c), Params);                                          \
  } else if (c.form == kBits) {                                                              \
    uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])}; \
    Name(__VA_ARGS__, bits, Times(c), Params);                                               \
  } else if (c.form == kPreset) {                                                            \
    SetVectorMask<T>(static_cast<uint64_t>(c.bits[1]), static_cast<uint64_t>(c.bits[0]));    \
    Name<T, false>(__VA_ARGS__, MASK_PLACEHOLDER, Times(c), Params);                         \
    ResetMask();                                                                             \
  } else {                                                                                   \
    SetMaskCount();                                                                          \
    SetVectorMask<T, MaskMode::COUNTER>(0, static_cast<uint64_t>(c.n));                      \
    Name<T, false>(__VA_ARGS__, MASK_PLACEHOLDER, static_cast<uint8_t>(1), Params);          \
    SetMaskNorm();                                                                           \
    ResetMask();                                                                             \
  }
// The same without the count form, for calls that have none, or another one.
#define IN_MASK_FORM(Name, Params, ...)                                                      \
  if (c.form == kPrefix) {                                                                   \
    Name(__VA_ARGS__, Prefix(c), Times(c), Params);                                          \
  } else {                                                                                   \
    uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])}; \
    Name(__VA_ARGS__, bits, Times(c), Params);                                               \
  }

__aicore__ inline uint64_t Prefix(const ApiCase& c) {
  return static_cast<uint64_t>(c.n);
}
__aicore__ inline uint8_t Times(const ApiCase& c) {
  return static_cast<uint8_t>(c.repeat);
}
__aicore__ inline BinaryRepeatParams BinaryParams(const ApiCase& c) {
  return BinaryRepeatParams(c.block[0], c.block[1], c.block[2], c.step[0], c.step[1], c.step[2]);
}
__aicore__ inline UnaryRepeatParams UnaryParams(const ApiCase& c) {
  return UnaryRepeatParams(c.block[0], c.block[1], c.step[0], c.step[1]);
}

enum Op {
  kAdd,
  kSub,
  kMul,
  kMax,
  kMin,
  kDiv,
  kAnd,
  kOr,
  kMulAddDst,
  kAdds = 20,
  kMuls,
  kMaxs,
  kMins,
  kLeakyRelu,
  kAxpy,
  kExp = 40,
  kLn,
  kAbs,
  kReciprocal,
  kSqrt,
  kRsqrt,
  kRelu,
  kNot,
  kDuplicate = 60,
  kCopy,
  kBrcb
};

template <class T>
struct Operands {
  __aicore__ inline Operands(const LocalTensor<uint8_t>& image, const ApiCase& c)
      : dst(At<T>(image, c.dst)),
        a(At<T>(image, c.src0)),
        b(At<T>(image, c.src1)),
        s(T(static_cast<int32_t>(c.p[0]))) {}
  LocalTensor<T> dst, a, b;
  T s;
};

// Arithmetic that all types have.
template <class T>
__aicore__ inline void Common(const Operands<T>& o, const ApiCase& c) {
  switch (c.op) {
    case kAdd:
      IN_FORM(T, Add, BinaryParams(c), o.dst, o.a, o.b) break;
    case kSub:
      IN_FORM(T, Sub, BinaryParams(c), o.dst, o.a, o.b) break;
    case kMul:
      IN_FORM(T, Mul, BinaryParams(c), o.dst, o.a, o.b) break;
    case kMax:
      IN_FORM(T, Max, BinaryParams(c), o.dst, o.a, o.b) break;
    case kMin:
      IN_FORM(T, Min, BinaryParams(c), o.dst, o.a, o.b) break;
    case kAdds:
      IN_FORM(T, Adds, UnaryParams(c), o.dst, o.a, o.s) break;
    case kMuls:
      IN_FORM(T, Muls, UnaryParams(c), o.dst, o.a, o.s) break;
    case kMaxs:
      IN_FORM(T, Maxs, UnaryParams(c), o.dst, o.a, o.s) break;
    case kMins:
      IN_FORM(T, Mins, UnaryParams(c), o.dst, o.a, o.s) break;
    default:
      break;
  }
}

// What only floating point has.
template <class T>
__aicore__ inline void Floating(const Operands<T>& o, const ApiCase& c) {
  switch (c.op) {
    case kDiv:
      IN_FORM(T, Div, BinaryParams(c), o.dst, o.a, o.b) break;
    case kLeakyRelu:
      IN_FORM(T, LeakyRelu, UnaryParams(c), o.dst, o.a, o.s) break;
    case kExp:
      IN_FORM(T, Exp, UnaryParams(c), o.dst, o.a) break;
    case kLn:
      IN_FORM(T, Ln, UnaryParams(c), o.dst, o.a) break;
    case kAbs:
      IN_FORM(T, Abs, UnaryParams(c), o.dst, o.a) break;
    case kReciprocal:
      IN_FORM(T, Reciprocal, UnaryParams(c), o.dst, o.a) break;
    case kSqrt:
      IN_FORM(T, Sqrt, UnaryParams(c), o.dst, o.a) break;
    case kRsqrt:
      IN_FORM(T, Rsqrt, UnaryParams(c), o.dst, o.a) break;
    case kRelu:
      IN_FORM(T, Relu, UnaryParams(c), o.dst, o.a) break;
    case kMulAddDst:
      if (c.form == kCount) {
        MulAddDst(o.dst, o.a, o.b, static_cast<int32_t>(c.n));
      } else {
        MulAddDst(o.dst, o.a, o.b, Prefix(c), Times(c), BinaryParams(c));
      }
      break;
    case kAxpy:
      if (c.form == kCount) {
        Axpy(o.dst, o.a, o.s, static_cast<int32_t>(c.n));
      } else {
        Axpy(o.dst, o.a, o.s, Prefix(c), Times(c), UnaryParams(c));
      }
      break;
    default:
      Common(o, c);
  }
}

// What only moves bits.
template <class T>
__aicore__ inline void Moving(const Operands<T>& o, const ApiCase& c) {
  const CopyRepeatParams copy(c.block[0], c.block[1], c.step[0], c.step[1]);
  switch (c.op) {
    case kDuplicate:
      if (c.form == kCount) {
        Duplicate(o.dst, o.s, static_cast<int32_t>(c.n));
      } else if (c.form == kPrefix) {
        Duplicate(o.dst, o.s, Prefix(c), Times(c), static_cast<uint16_t>(c.block[0]),
                  static_cast<uint8_t>(c.step[0]));
      } else {
        uint64_t bits[2] = {static_cast<uint64_t>(c.bits[0]), static_cast<uint64_t>(c.bits[1])};
        Duplicate(o.dst, o.s, bits, Times(c), static_cast<uint16_t>(c.block[0]),
                  static_cast<uint8_t>(c.step[0]));
      }
      break;
    case kCopy:
      IN_MASK_FORM(Copy, copy, o.dst, o.a) break;
    case kBrcb:
      Brcb(o.dst, o.a, Times(c), BrcbRepeatParams(c.block[0], c.step[0]));
      break;
    default:
      break;
  }
}

template <class T>
struct FloatBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    const Operands<T> o(image, c);
    c.op >= kDuplicate ? Moving(o, c) : Floating(o, c);
  }
};

template <class T>
struct IntegerBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    const Operands<T> o(image, c);
    c.op >= kDuplicate ? Moving(o, c) : Common(o, c);
  }
};

struct BitBody {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    const Operands<int16_t> o(image, c);
    switch (c.op) {
      case kAnd:
        IN_FORM(int16_t, And, BinaryParams(c), o.dst, o.a, o.b) break;
      case kOr:
        IN_FORM(int16_t, Or, BinaryParams(c), o.dst, o.a, o.b) break;
      case kNot:
        IN_FORM(int16_t, Not, UnaryParams(c), o.dst, o.a) break;
      default:
        IntegerBody<int16_t>::Run(image, c);
    }
  }
};

struct Bfloat16Body {
  __aicore__ inline static void Run(const LocalTensor<uint8_t>& image, const ApiCase& c) {
    Moving(Operands<bfloat16_t>(image, c), c);
  }
};

API_ENTRY(api_float, FloatBody<float>, kImage)
API_ENTRY(api_half, FloatBody<half>, kImage)
API_ENTRY(api_int32, IntegerBody<int32_t>, kImage)
API_ENTRY(api_int16, BitBody, kImage)
API_ENTRY(api_bfloat16, Bfloat16Body, kImage)
