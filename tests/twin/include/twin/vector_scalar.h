// SPDX-License-Identifier: Apache-2.0
// Element-wise functions with a scalar: Adds, Muls, Maxs, Mins, LeakyRelu, Axpy, and Duplicate.
#pragma once

#include "twin/vector_binary.h"

namespace twin {

struct LeakyReluOp {
  template <class T>
  T operator()(T a, T b) const {
    return a > T(0) ? a : static_cast<T>(static_cast<float>(a) * static_cast<float>(b));
  }
};

template <class Op, class T, class... Allowed>
void Scalar(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src, T scalar,
            const Lanes& lanes, const AscendC::UnaryRepeatParams& p, Site site) {
  Instr in(api, Pipe::kV, site);
  RequireType<T, Allowed...>(in);
  RunUnary(in, dst, src, lanes, p.Dst(), p.Src(), [&](T v) { return Op{}(v, scalar); });
}

template <class T>
void Broadcast(const AscendC::LocalTensor<T>& dst, T scalar, const Lanes& lanes, const Strides& d,
               Site site) {
  Instr in("Duplicate", Pipe::kV, site);
  RequireType<T, half, bfloat16_t, float, int16_t, uint16_t, int32_t, uint32_t>(in);
  in.In(dst.ref(), "dst", kUbOnly, 32);
  CheckLanes(in, lanes);
  TouchLanes(in, Access::kWrite, dst.ref(), "dst", sizeof(T), d, lanes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  cost.repeat_cycles = RepeatCycles(d);
  if (!in.Issue(cost)) return;
  const View<T> to(in.Data(dst.ref()), d);
  ForLanes(lanes, [&](uint32_t r, uint32_t l) { to.Store(r, l, scalar); });
}

}  // namespace twin

namespace AscendC {

#define TWIN_SCALAR(Name, Op, ...)                                                                           \
  template <class T, bool isSetMask = true>                                                                  \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[],     \
            const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams, TWIN_SITE) {               \
    twin::Scalar<twin::Op, T, __VA_ARGS__>(#Name, dst, src, scalarValue,                                     \
                                           twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),     \
                                           repeatParams, site);                                              \
  }                                                                                                          \
  template <class T, bool isSetMask = true>                                                                  \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,       \
            const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams, TWIN_SITE) {               \
    twin::Scalar<twin::Op, T, __VA_ARGS__>(#Name, dst, src, scalarValue,                                     \
                                           twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),     \
                                           repeatParams, site);                                              \
  }                                                                                                          \
  template <class T, bool isSetMask = true>                                                                  \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,                      \
            const int32_t& count, TWIN_SITE) {                                                               \
    twin::Scalar<twin::Op, T, __VA_ARGS__>(#Name, dst, src, scalarValue, twin::CountLanes(count, sizeof(T)), \
                                           {}, site);                                                        \
  }

TWIN_SCALAR(Adds, AddOp, half, float, int16_t, int32_t)
TWIN_SCALAR(Muls, MulOp, half, float, int16_t, int32_t)
TWIN_SCALAR(Maxs, MaxOp, half, float, int16_t, int32_t)
TWIN_SCALAR(Mins, MinOp, half, float, int16_t, int32_t)
TWIN_SCALAR(LeakyRelu, LeakyReluOp, half, float)
#undef TWIN_SCALAR

// dst += src * scalar; src may be half with a float dst.
template <class T, class U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask,
          const twin::Repeat repeatTime, const UnaryRepeatParams& p, TWIN_SITE) {
  twin::Instr in("Axpy", twin::Pipe::kV, site);
  twin::RequireType<T, half, float>(in);
  const float factor = static_cast<float>(scalarValue);
  twin::RunBinary<true>(in, dst, src, src,
                        twin::MaskLanes(mask, repeatTime.wide, std::max(sizeof(T), sizeof(U)), isSetMask),
                        p.Dst(), p.Src(), p.Src(),
                        [&](U a, U, T c) { return twin::MulAddDstOp{}(static_cast<float>(a), factor, c); });
}
template <class T, class U>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, const int32_t& count,
          TWIN_SITE) {
  twin::Instr in("Axpy", twin::Pipe::kV, site);
  twin::RequireType<T, half, float>(in);
  const float factor = static_cast<float>(scalarValue);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  const twin::Strides d{1, 8 * sizeof(T) / wide}, s{1, 8 * sizeof(U) / wide};
  twin::RunBinary<true>(in, dst, src, src, twin::CountLanes(count, wide), d, s, s,
                        [&](U a, U, T c) { return twin::MulAddDstOp{}(static_cast<float>(a), factor, c); });
}

template <class T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask, const twin::Repeat repeatTime,
               const twin::Field<uint16_t> dstBlockStride, const twin::Field<uint8_t> dstRepeatStride,
               TWIN_SITE) {
  twin::Broadcast(dst, scalarValue, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),
                  {dstBlockStride, dstRepeatStride}, site);
}
template <class T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask[],
               const twin::Repeat repeatTime, const twin::Field<uint16_t> dstBlockStride,
               const twin::Field<uint8_t> dstRepeatStride, TWIN_SITE) {
  twin::Broadcast(dst, scalarValue, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),
                  {dstBlockStride, dstRepeatStride}, site);
}
template <class T>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, const int32_t& count, TWIN_SITE) {
  twin::Broadcast(dst, scalarValue, twin::CountLanes(count, sizeof(T)), twin::Dense<T>(), site);
}

}  // namespace AscendC
