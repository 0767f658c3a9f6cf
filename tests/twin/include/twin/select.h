// SPDX-License-Identifier: Apache-2.0
// Select: dst = bit ? src0 : src1 (or a scalar). Needs the 8 KB of UB that are reserved for it.
#pragma once

#include "twin/compare.h"

namespace twin {

template <class T, class U, class Other>
void RunSelect(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<U>& sel,
               const AscendC::LocalTensor<T>& src0, AscendC::SELMODE mode, const Lanes& lanes,
               const AscendC::BinaryRepeatParams& p, Other other) {
  RequireType<T, half, float>(in);
  in.Require(UbUsed() <= SelectReserveBegin(), Rule::kCapacity,
             "needs the UB from %llu on for itself, but buffers reach %llu",
             static_cast<unsigned long long>(SelectReserveBegin()),
             static_cast<unsigned long long>(UbUsed()));
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(sel.ref(), "selMask", kUbOnly, 32);
  in.In(src0.ref(), "src0", kUbOnly, 32);
  CheckLanes(in, lanes);
  const bool reused = mode == AscendC::SELMODE::VSEL_CMPMASK_SPR;
  const uint32_t bytes = lanes.width / 8;
  in.Touch(Access::kRead, sel.ref(), "selMask", 0,
           reused ? bytes : (lanes.counter ? (lanes.active + 7) / 8 : uint64_t{lanes.Repeats()} * bytes));
  TouchLanes(in, Access::kRead, src0.ref(), "src0", sizeof(T), p.Src0(), lanes);
  TouchLanes(in, Access::kWrite, dst.ref(), "dst", sizeof(T), p.Dst(), lanes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  if (!in.Issue(cost)) return;
  const uint8_t* bits = in.Data(sel.ref());
  const View<T> a(in.Data(src0.ref()), p.Src0()), to(in.Data(dst.ref()), p.Dst());
  ForLanes(lanes, [&](uint32_t r, uint32_t l) {
    const uint32_t bit = (reused ? 0 : r * lanes.width) + l;
    to.Store(r, l, bits[bit / 8] >> bit % 8 & 1 ? a.Load(r, l) : other(r, l));
  });
}

template <class T, class U>
void SelectTensors(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<U>& sel,
                   const AscendC::LocalTensor<T>& src0, const AscendC::LocalTensor<T>& src1,
                   AscendC::SELMODE mode, const Lanes& lanes, const AscendC::BinaryRepeatParams& p) {
  in.Require(mode != AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, Rule::kRange,
             "two tensors need another mode than TENSOR_SCALAR");
  in.In(src1.ref(), "src1", kUbOnly, 32);
  TouchLanes(in, Access::kRead, src1.ref(), "src1", sizeof(T), p.Src1(), lanes);
  RunSelect(in, dst, sel, src0, mode, lanes, p,
            [&](uint32_t r, uint32_t l) { return View<T>(in.Data(src1.ref()), p.Src1()).Load(r, l); });
}

template <class T, class U>
void SelectScalar(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<U>& sel,
                  const AscendC::LocalTensor<T>& src0, T src1, AscendC::SELMODE mode, const Lanes& lanes,
                  const AscendC::BinaryRepeatParams& p) {
  in.Require(mode == AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, Rule::kRange,
             "a scalar needs VSEL_TENSOR_SCALAR_MODE");
  RunSelect(in, dst, sel, src0, mode, lanes, p, [&](uint32_t, uint32_t) { return src1; });
}

}  // namespace twin

namespace AscendC {

#define TWIN_SELECT(Src1, Run)                                                                      \
  template <class T, class U, bool isSetMask = true>                                                \
  void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, \
              Src1 src1, SELMODE selMode, uint64_t mask[], twin::Repeat repeatTime,                 \
              const BinaryRepeatParams& repeatParams, TWIN_SITE) {                                  \
    twin::Instr in("Select", twin::Pipe::kV, site);                                                 \
    twin::Run(in, dst, selMask, src0, src1, selMode,                                                \
              twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), repeatParams);          \
  }                                                                                                 \
  template <class T, class U, bool isSetMask = true>                                                \
  void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, \
              Src1 src1, SELMODE selMode, uint64_t mask, twin::Repeat repeatTime,                   \
              const BinaryRepeatParams& repeatParams, TWIN_SITE) {                                  \
    twin::Instr in("Select", twin::Pipe::kV, site);                                                 \
    twin::Run(in, dst, selMask, src0, src1, selMode,                                                \
              twin::MaskLanes(mask, repeatTime.wide, sizeof(T), isSetMask), repeatParams);          \
  }                                                                                                 \
  template <class T, class U>                                                                       \
  void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, \
              Src1 src1, SELMODE selMode, uint32_t count, TWIN_SITE) {                              \
    twin::Instr in("Select", twin::Pipe::kV, site);                                                 \
    twin::Run(in, dst, selMask, src0, src1, selMode, twin::CountLanes(count, sizeof(T)), {});       \
  }
TWIN_SELECT(const LocalTensor<T>&, SelectTensors)
TWIN_SELECT(T, SelectScalar)
#undef TWIN_SELECT

}  // namespace AscendC
