// SPDX-License-Identifier: Apache-2.0
// Element-wise functions of two operands: Add, Sub, Mul, Div, Max, Min, And, Or, MulAddDst.
#pragma once

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

// 16-bit floats round once from an exact or correctly rounded float result; integers wrap.
template <class T, class F>
T Arithmetic(T a, T b, F f) {
  if constexpr (std::is_integral<T>::value) {
    using Unsigned = std::make_unsigned_t<T>;
    return static_cast<T>(
        f(static_cast<uint64_t>(static_cast<Unsigned>(a)), static_cast<uint64_t>(static_cast<Unsigned>(b))));
  } else {
    return static_cast<T>(f(static_cast<float>(a), static_cast<float>(b)));
  }
}

struct AddOp {
  template <class T>
  T operator()(T a, T b) const {
    return Arithmetic(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct SubOp {
  template <class T>
  T operator()(T a, T b) const {
    return Arithmetic(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct MulOp {
  template <class T>
  T operator()(T a, T b) const {
    return Arithmetic(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct DivOp {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<float>(a) / static_cast<float>(b));
  }
};
struct MaxOp {
  template <class T>
  T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct MinOp {
  template <class T>
  T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
struct AndOp {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral<T>::value) return static_cast<T>(a & b);
    return a;
  }
};
struct OrOp {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral<T>::value) return static_cast<T>(a | b);
    return a;
  }
};
struct MulAddDstOp {
  template <class D, class S>
  D operator()(S a, S b, D c) const {
    return static_cast<D>(static_cast<float>(a) * static_cast<float>(b) + static_cast<float>(c));
  }
};

template <class Op, class T, class... Allowed>
void Binary(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src0,
            const AscendC::LocalTensor<T>& src1, const Lanes& lanes, const AscendC::BinaryRepeatParams& p,
            Site site) {
  Instr in(api, Pipe::kV, site);
  RequireType<T, Allowed...>(in);
  RunBinary(in, dst, src0, src1, lanes, p.Dst(), p.Src0(), p.Src1(), Op{});
}

}  // namespace twin

namespace AscendC {

#define TWIN_BINARY(Name, Op, ...)                                                                         \
  template <class T, bool isSetMask = true>                                                                \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,             \
            uint64_t mask[], const twin::Repeat repeatTime, const BinaryRepeatParams& repeatParams,        \
            TWIN_SITE) {                                                                                   \
    twin::Binary<twin::Op, T, __VA_ARGS__>(#Name, dst, src0, src1,                                         \
                                           twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),   \
                                           repeatParams, site);                                            \
  }                                                                                                        \
  template <class T, bool isSetMask = true>                                                                \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,             \
            uint64_t mask, const twin::Repeat repeatTime, const BinaryRepeatParams& repeatParams,          \
            TWIN_SITE) {                                                                                   \
    twin::Binary<twin::Op, T, __VA_ARGS__>(#Name, dst, src0, src1,                                         \
                                           twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),   \
                                           repeatParams, site);                                            \
  }                                                                                                        \
  template <class T>                                                                                       \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,             \
            const int32_t& count, TWIN_SITE) {                                                             \
    twin::Binary<twin::Op, T, __VA_ARGS__>(#Name, dst, src0, src1, twin::CountLanes(count, sizeof(T)), {}, \
                                           site);                                                          \
  }

TWIN_BINARY(Add, AddOp, half, float, int16_t, int32_t)
TWIN_BINARY(Sub, SubOp, half, float, int16_t, int32_t)
TWIN_BINARY(Mul, MulOp, half, float, int16_t, int32_t)
TWIN_BINARY(Div, DivOp, half, float)
TWIN_BINARY(Max, MaxOp, half, float, int16_t, int32_t)
TWIN_BINARY(Min, MinOp, half, float, int16_t, int32_t)
TWIN_BINARY(And, AndOp, int16_t, uint16_t)
TWIN_BINARY(Or, OrOp, int16_t, uint16_t)
#undef TWIN_BINARY

template <class T, class U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               uint64_t mask, const twin::Repeat repeatTime, const BinaryRepeatParams& repeatParams,
               TWIN_SITE) {
  twin::Instr in("MulAddDst", twin::Pipe::kV, site);
  twin::RequireType<T, half, float>(in);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  twin::RunBinary<true>(in, dst, src0, src1, twin::MaskLanes(mask, repeatTime.wide, wide, isSetMask),
                        repeatParams.Dst(), repeatParams.Src0(), repeatParams.Src1(), twin::MulAddDstOp{});
}
template <class T, class U>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               const int32_t& count, TWIN_SITE) {
  twin::Instr in("MulAddDst", twin::Pipe::kV, site);
  twin::RequireType<T, half, float>(in);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  twin::RunBinary<true>(in, dst, src0, src1, twin::CountLanes(count, wide),
                        twin::Strides{1, 8 * sizeof(T) / wide}, twin::Strides{1, 8 * sizeof(U) / wide},
                        twin::Strides{1, 8 * sizeof(U) / wide}, twin::MulAddDstOp{});
}

}  // namespace AscendC
