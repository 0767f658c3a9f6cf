// SPDX-License-Identifier: Apache-2.0
// Which elements of which repeats a vector instruction works on: count form, mask forms, counter mode.
#pragma once

#include <algorithm>
#include <cstring>

#include "twin/field.h"
#include "twin/overlap.h"
#include "twin/tensor.h"

namespace twin {

using Repeat = Field<uint8_t>;

struct Lanes {
  bool counter = false;  // total elements instead of mask and repeats
  bool prefix = true;    // mask is the first `active` lanes
  bool explicit_mask = false;
  uint64_t active = 0;  // lanes a repeat, or the total in counter mode
  uint64_t low = 0, high = 0;
  int64_t repeat = 0;
  uint32_t width = 0;  // lanes of a full repeat

  uint32_t Repeats() const {
    return counter ? static_cast<uint32_t>((active + width - 1) / width)
                   : static_cast<uint32_t>(repeat & 0xff);
  }
  // Active lanes at the front of repeat r when the mask is a prefix.
  uint32_t Front(uint32_t r) const {
    if (!counter) return static_cast<uint32_t>(active);
    const uint64_t left = active - uint64_t{r} * width;
    return left < width ? static_cast<uint32_t>(left) : width;
  }
  bool Bit(uint32_t lane) const { return (lane < 64 ? low >> lane : high >> (lane - 64)) & 1; }
  uint64_t Elements() const;
};

// `size`: of the wider element type. Sets the mask register as the API's level does.
TWIN_API Lanes CountLanes(int64_t count, uint32_t size);
TWIN_API Lanes MaskLanes(uint64_t mask, int64_t repeat, uint32_t size, bool set_mask);
TWIN_API Lanes MaskLanes(const uint64_t mask[], int64_t repeat, uint32_t size, bool set_mask);

struct Strides {
  Field<uint16_t> block;  // between the 8 blocks of a repeat, in 32 bytes
  Field<uint8_t> repeat;  // between repeats, in 32 bytes
  uint32_t unit = 32;     // bytes of one step of `repeat`
};

TWIN_API void CheckLanes(Instr& in, const Lanes& lanes);
TWIN_API void TouchLanes(Instr& in, Access kind, const LocalRef& tensor, const char* operand, uint32_t size,
                         const Strides& strides, const Lanes& lanes);
// UB bank conflicts of one repeat: 8 blocks go to 16 groups, one row of each a cycle.
TWIN_API uint32_t RepeatCycles(const Strides& strides);

template <class F>
void ForLanes(const Lanes& lanes, F f) {
  const uint32_t repeats = lanes.Repeats();
  for (uint32_t r = 0; r < repeats; ++r) {
    if (lanes.prefix) {
      const uint32_t n = lanes.Front(r);
      for (uint32_t l = 0; l < n; ++l) f(r, l);
    } else {
      for (uint32_t l = 0; l < lanes.width; ++l) {
        if (lanes.Bit(l)) f(r, l);
      }
    }
  }
}

template <class T>
class View {
 public:
  View(uint8_t* base, const Strides& s)
      : base_(base),
        block_(static_cast<uint16_t>(s.block) * 32u),
        repeat_(static_cast<uint8_t>(s.repeat) * s.unit) {}
  T Load(uint32_t r, uint32_t lane) const {
    T v;
    std::memcpy(&v, At(r, lane), sizeof(T));
    return v;
  }
  void Store(uint32_t r, uint32_t lane, T v) const { std::memcpy(At(r, lane), &v, sizeof(T)); }

 private:
  uint8_t* At(uint32_t r, uint32_t lane) const {
    constexpr uint32_t per_block = 32 / sizeof(T);
    return base_ + size_t{r} * repeat_ + size_t{lane / per_block} * block_ + lane % per_block * sizeof(T);
  }
  uint8_t* base_;
  uint32_t block_, repeat_;
};

template <class T>
struct TypeName {
  static constexpr const char* value = "this type";
};
template <>
struct TypeName<half> {
  static constexpr const char* value = "half";
};
template <>
struct TypeName<bfloat16_t> {
  static constexpr const char* value = "bfloat16_t";
};
template <>
struct TypeName<float> {
  static constexpr const char* value = "float";
};
template <>
struct TypeName<int8_t> {
  static constexpr const char* value = "int8_t";
};
template <>
struct TypeName<uint8_t> {
  static constexpr const char* value = "uint8_t";
};
template <>
struct TypeName<int16_t> {
  static constexpr const char* value = "int16_t";
};
template <>
struct TypeName<uint16_t> {
  static constexpr const char* value = "uint16_t";
};
template <>
struct TypeName<int32_t> {
  static constexpr const char* value = "int32_t";
};
template <>
struct TypeName<uint32_t> {
  static constexpr const char* value = "uint32_t";
};
template <>
struct TypeName<int64_t> {
  static constexpr const char* value = "int64_t";
};

template <class T, class... Allowed>
void RequireType(Instr& in) {
  in.Require((std::is_same<T, Allowed>::value || ...), Rule::kType, "does not take %s", TypeName<T>::value);
}

constexpr unsigned kUbOnly = MemBit(Mem::kUb);

// dst[i] = f(src[i]) over the lanes.
template <class D, class S, class F>
void RunUnary(Instr& in, const AscendC::LocalTensor<D>& dst, const AscendC::LocalTensor<S>& src,
              const Lanes& lanes, const Strides& d, const Strides& s, F f) {
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src", kUbOnly, 32);
  CheckLanes(in, lanes);
  CheckOverlap(in, {dst.ref(), "dst", sizeof(D), d}, {src.ref(), "src", sizeof(S), s}, lanes);
  TouchLanes(in, Access::kRead, src.ref(), "src", sizeof(S), s, lanes);
  TouchLanes(in, Access::kWrite, dst.ref(), "dst", sizeof(D), d, lanes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  cost.repeat_cycles = std::max(RepeatCycles(d), RepeatCycles(s));
  if (!in.Issue(cost)) return;
  const View<D> to(in.Data(dst.ref()), d);
  const View<S> from(in.Data(src.ref()), s);
  ForLanes(lanes, [&](uint32_t r, uint32_t l) { to.Store(r, l, f(from.Load(r, l))); });
}

// dst[i] = f(src0[i], src1[i], dst[i] when reads_dst) over the lanes.
template <bool reads_dst = false, class D, class S, class F>
void RunBinary(Instr& in, const AscendC::LocalTensor<D>& dst, const AscendC::LocalTensor<S>& src0,
               const AscendC::LocalTensor<S>& src1, const Lanes& lanes, const Strides& d, const Strides& s0,
               const Strides& s1, F f) {
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src0.ref(), "src0", kUbOnly, 32);
  in.In(src1.ref(), "src1", kUbOnly, 32);
  CheckLanes(in, lanes);
  CheckOverlap(in, {dst.ref(), "dst", sizeof(D), d}, {src0.ref(), "src0", sizeof(S), s0}, lanes);
  CheckOverlap(in, {dst.ref(), "dst", sizeof(D), d}, {src1.ref(), "src1", sizeof(S), s1}, lanes, true);
  TouchLanes(in, Access::kRead, src0.ref(), "src0", sizeof(S), s0, lanes);
  TouchLanes(in, Access::kRead, src1.ref(), "src1", sizeof(S), s1, lanes);
  if (reads_dst) TouchLanes(in, Access::kRead, dst.ref(), "dst", sizeof(D), d, lanes);
  TouchLanes(in, Access::kWrite, dst.ref(), "dst", sizeof(D), d, lanes);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  cost.repeat_cycles = std::max(RepeatCycles(d), std::max(RepeatCycles(s0), RepeatCycles(s1)));
  if (!in.Issue(cost)) return;
  const View<D> to(in.Data(dst.ref()), d);
  const View<S> a(in.Data(src0.ref()), s0), b(in.Data(src1.ref()), s1);
  ForLanes(lanes, [&](uint32_t r, uint32_t l) {
    if constexpr (reads_dst) {
      to.Store(r, l, f(a.Load(r, l), b.Load(r, l), to.Load(r, l)));
    } else {
      to.Store(r, l, f(a.Load(r, l), b.Load(r, l)));
    }
  });
}

// Strides of the count forms: contiguous. A narrow operand beside a wide one fills fewer blocks a repeat.
template <class T, class Wide = T>
Strides Dense() {
  return Strides{1, 8 * sizeof(T) / sizeof(Wide)};
}

}  // namespace twin
