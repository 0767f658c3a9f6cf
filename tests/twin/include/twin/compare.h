// SPDX-License-Identifier: Apache-2.0
// Compare, Compares/CompareScalar: one bit an element, packed little endian. Select: bit 1 takes src0.
#pragma once

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

template <class T>
bool Holds(T a, T b, AscendC::CMPMODE mode) {
  switch (mode) {
    case AscendC::CMPMODE::LT:
      return a < b;
    case AscendC::CMPMODE::GT:
      return a > b;
    case AscendC::CMPMODE::EQ:
      return a == b;
    case AscendC::CMPMODE::LE:
      return a <= b;
    case AscendC::CMPMODE::GE:
      return a >= b;
    default:
      return a != b;
  }
}

// Each repeat writes one bit for every lane, 256 / size of them, next to the previous repeat's.
template <class T, class U, class Other>
void RunCompare(Instr& in, const AscendC::LocalTensor<U>& dst, const AscendC::LocalTensor<T>& src0,
                AscendC::CMPMODE mode, const Lanes& lanes, const Strides& s0, Other other) {
  in.Require(sizeof(U) == 1, Rule::kType, "writes its bits to int8_t or uint8_t, not %s", TypeName<U>::value);
  RequireType<T, half, float, int32_t>(in);
  in.Require(!(std::is_same<T, int32_t>::value) || mode == AscendC::CMPMODE::EQ, Rule::kType,
             "takes int32_t with EQ only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src0.ref(), "src0", kUbOnly, 32);
  CheckLanes(in, lanes);
  TouchLanes(in, Access::kRead, src0.ref(), "src0", sizeof(T), s0, lanes);
  const uint32_t bytes = lanes.width / 8;
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, uint64_t{lanes.Repeats()} * bytes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  if (!in.Issue(cost)) return;
  uint8_t* bits = in.Data(dst.ref());
  std::memset(bits, 0, size_t{lanes.Repeats()} * bytes);
  const View<T> a(in.Data(src0.ref()), s0);
  ForLanes(lanes, [&](uint32_t r, uint32_t l) {
    if (Holds(a.Load(r, l), other(in, r, l), mode))
      bits[r * bytes + l / 8] |= static_cast<uint8_t>(1u << l % 8);
  });
}

template <class T, class U>
void CompareTensors(const AscendC::LocalTensor<U>& dst, const AscendC::LocalTensor<T>& src0,
                    const AscendC::LocalTensor<T>& src1, AscendC::CMPMODE mode, const Lanes& lanes,
                    const AscendC::BinaryRepeatParams& p, Instr& in) {
  in.In(src1.ref(), "src1", kUbOnly, 32);
  TouchLanes(in, Access::kRead, src1.ref(), "src1", sizeof(T), p.Src1(), lanes);
  RunCompare(in, dst, src0, mode, lanes, p.Src0(), [&](Instr& i, uint32_t r, uint32_t l) {
    return View<T>(i.Data(src1.ref()), p.Src1()).Load(r, l);
  });
}

template <class T>
void RequireWholeRepeats(Instr& in, uint32_t count) {
  in.Require(count * sizeof(T) % 256 == 0, Rule::kAlignment,
             "count times the element size must be a multiple of 256 bytes, got %zu", count * sizeof(T));
}

}  // namespace twin

namespace AscendC {

template <class T, class U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, const uint64_t mask[], twin::Repeat repeatTime,
             const BinaryRepeatParams& repeatParams, TWIN_SITE) {
  twin::Instr in("Compare", twin::Pipe::kV, site);
  twin::CompareTensors(dst, src0, src1, cmpMode, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),
                       repeatParams, in);
}
template <class T, class U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, const uint64_t mask, twin::Repeat repeatTime,
             const BinaryRepeatParams& repeatParams, TWIN_SITE) {
  twin::Instr in("Compare", twin::Pipe::kV, site);
  twin::CompareTensors(dst, src0, src1, cmpMode, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask),
                       repeatParams, in);
}
template <class T, class U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, uint32_t count, TWIN_SITE) {
  twin::Instr in("Compare", twin::Pipe::kV, site);
  twin::RequireWholeRepeats<T>(in, count);
  twin::CompareTensors(dst, src0, src1, cmpMode, twin::CountLanes(count, sizeof(T)), {}, in);
}

#define TWIN_COMPARE_SCALAR(Name)                                                                          \
  template <class T, class U, bool isSetMask = true>                                                       \
  void Name(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,    \
            const uint64_t mask[], twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams,         \
            TWIN_SITE) {                                                                                   \
    twin::Instr in(#Name, twin::Pipe::kV, site);                                                           \
    twin::RunCompare(in, dst, src0, cmpMode, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), \
                     repeatParams.Src(), [&](twin::Instr&, uint32_t, uint32_t) { return src1Scalar; });    \
  }                                                                                                        \
  template <class T, class U, bool isSetMask = true>                                                       \
  void Name(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,    \
            const uint64_t mask, twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams,           \
            TWIN_SITE) {                                                                                   \
    twin::Instr in(#Name, twin::Pipe::kV, site);                                                           \
    twin::RunCompare(in, dst, src0, cmpMode, twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), \
                     repeatParams.Src(), [&](twin::Instr&, uint32_t, uint32_t) { return src1Scalar; });    \
  }                                                                                                        \
  template <class T, class U>                                                                              \
  void Name(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,    \
            uint32_t count, TWIN_SITE) {                                                                   \
    twin::Instr in(#Name, twin::Pipe::kV, site);                                                           \
    twin::RequireWholeRepeats<T>(in, count);                                                               \
    twin::RunCompare(in, dst, src0, cmpMode, twin::CountLanes(count, sizeof(T)), twin::Dense<T>(),         \
                     [&](twin::Instr&, uint32_t, uint32_t) { return src1Scalar; });                        \
  }
TWIN_COMPARE_SCALAR(Compares)
TWIN_COMPARE_SCALAR(CompareScalar)
#undef TWIN_COMPARE_SCALAR

}  // namespace AscendC
