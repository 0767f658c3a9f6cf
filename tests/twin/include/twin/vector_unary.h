// SPDX-License-Identifier: Apache-2.0
// Element-wise functions of one operand: Exp, Ln, Abs, Reciprocal, Sqrt, Rsqrt, Relu, Not.
#pragma once

#include <cmath>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

template <class T, class F>
T ThroughFloat(T v, F f) {
  return static_cast<T>(f(static_cast<float>(v)));
}

struct ExpOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return std::exp(x); });
  }
};
struct LnOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return std::log(x); });
  }
};
struct AbsOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return std::fabs(x); });
  }
};
struct ReciprocalOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return 1.0f / x; });
  }
};
struct SqrtOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return std::sqrt(x); });
  }
};
struct RsqrtOp {
  template <class T>
  T operator()(T v) const {
    return ThroughFloat(v, [](float x) { return 1.0f / std::sqrt(x); });
  }
};
struct ReluOp {
  template <class T>
  T operator()(T v) const {
    return v > T(0) ? v : T(0);
  }
};
struct NotOp {
  template <class T>
  T operator()(T v) const {
    if constexpr (std::is_integral<T>::value) {
      return static_cast<T>(~v);
    } else {
      return v;
    }
  }
};

template <class Op, class T, class... Allowed>
void Unary(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
           const Lanes& lanes, const Strides& d, const Strides& s, Site site) {
  Instr in(api, Pipe::kV, site);
  RequireType<T, Allowed...>(in);
  RunUnary(in, dst, src, lanes, d, s, Op{});
}

}  // namespace twin

namespace AscendC {

#define TWIN_UNARY(Name, Op, ...)                                                                       \
  template <class T, bool isSetMask = true>                                                             \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask[],                      \
            const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams, TWIN_SITE) {          \
    twin::Unary<twin::Op, T, __VA_ARGS__>(#Name, dst, src,                                              \
                                          twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), \
                                          repeatParams.Dst(), repeatParams.Src(), site);                \
  }                                                                                                     \
  template <class T, bool isSetMask = true>                                                             \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask,                        \
            const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams, TWIN_SITE) {          \
    twin::Unary<twin::Op, T, __VA_ARGS__>(#Name, dst, src,                                              \
                                          twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), \
                                          repeatParams.Dst(), repeatParams.Src(), site);                \
  }                                                                                                     \
  template <class T>                                                                                    \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count, TWIN_SITE) {    \
    twin::Unary<twin::Op, T, __VA_ARGS__>(#Name, dst, src, twin::CountLanes(count, sizeof(T)),          \
                                          twin::Dense<T>(), twin::Dense<T>(), site);                    \
  }

TWIN_UNARY(Exp, ExpOp, half, float)
TWIN_UNARY(Ln, LnOp, half, float)
TWIN_UNARY(Abs, AbsOp, half, float)
TWIN_UNARY(Reciprocal, ReciprocalOp, half, float)
TWIN_UNARY(Sqrt, SqrtOp, half, float)
TWIN_UNARY(Rsqrt, RsqrtOp, half, float)
TWIN_UNARY(Relu, ReluOp, half, float, int32_t)
TWIN_UNARY(Not, NotOp, int16_t, uint16_t)
#undef TWIN_UNARY

}  // namespace AscendC
