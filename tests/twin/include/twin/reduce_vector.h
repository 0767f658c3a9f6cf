// SPDX-License-Identifier: Apache-2.0
// ReduceMax, ReduceMin, ReduceSum over a whole vector, through a temporary buffer.
#pragma once

#include "twin/reduce.h"

namespace twin {

inline uint64_t RoundUpTo(uint64_t v, uint64_t unit) {
  return (v + unit - 1) / unit * unit;
}

// Elements of the temporary buffer that the documentation asks for.
template <class T>
uint64_t ReduceTmp(uint64_t count, ReduceKind kind, bool index) {
  const uint64_t per_block = 32 / sizeof(T), width = 256 / sizeof(T);
  uint64_t repeats = (count + width - 1) / width;
  if (kind == ReduceKind::kSum) return RoundUpTo(repeats, per_block);
  uint64_t total = RoundUpTo(2 * repeats, per_block);
  while (index && repeats > 1) {
    repeats = (2 * repeats + width - 1) / width;
    total += RoundUpTo(2 * repeats, per_block);
  }
  return total;
}

template <class T>
struct ReduceOperands {
  const AscendC::LocalTensor<T>&dst, &src, &tmp;
};

// The source by repeats: the number of repeats may exceed what one instruction takes.
struct ReduceWalk {
  Lanes lanes;  // of one repeat, or all of them in the count form
  int64_t repeats = 1;
  uint64_t step = 0;  // bytes between repeats
};

template <class T>
void ReadValues(Instr& in, const AscendC::LocalTensor<T>& src, const ReduceWalk& walk,
                std::vector<Reduced<T>>& values) {
  for (int64_t r = 0; r < walk.repeats; ++r) {
    const View<T> from(in.Data(src.ref(), static_cast<uint64_t>(r) * walk.step), Dense<T>());
    ForLanes(walk.lanes, [&](uint32_t inner, uint32_t l) {
      const uint32_t repeat = static_cast<uint32_t>(r) + inner;
      values.push_back({from.Load(inner, l), repeat * walk.lanes.width + l});
    });
  }
}

template <class T>
void ReduceVector(const char* api, ReduceKind kind, const ReduceOperands<T>& o, const ReduceWalk& walk,
                  bool index, Site site) {
  Instr in(api, Pipe::kV, site);
  RequireType<T, half, float>(in);
  in.In(o.dst.ref(), "dst", kUbOnly, sizeof(T));
  in.In(o.src.ref(), "src", kUbOnly, 32);
  in.In(o.tmp.ref(), "sharedTmpBuffer", kUbOnly, 32);
  in.Require(walk.repeats > 0 && walk.lanes.active > 0, Rule::kRange,
             "count, mask and repeatTime must be at least 1");
  in.Require(walk.step <= 65535 * 32, Rule::kRepeat, "srcRepStride must lie in [0, 65535]");
  if (!in.ok()) return;
  CheckLanes(in, walk.lanes);
  for (int64_t r = 0; r < walk.repeats && in.ok(); ++r) {
    LocalRef part = o.src.ref();
    part.addr += static_cast<uint32_t>(static_cast<uint64_t>(r) * walk.step);
    TouchLanes(in, Access::kRead, part, "src", sizeof(T), Dense<T>(), walk.lanes);
  }
  const uint64_t rounds = walk.lanes.counter ? walk.lanes.Repeats() : static_cast<uint64_t>(walk.repeats);
  const uint64_t width = 256 / sizeof(T), tmp = ReduceTmp<T>(rounds * width, kind, index) * sizeof(T);
  in.Touch(Access::kStore, o.tmp.ref(), "sharedTmpBuffer", 0, tmp);
  in.Touch(Access::kWrite, o.dst.ref(), "dst", 0, sizeof(T) * (index ? 2 : 1));
  Cost cost{Path::kVector};
  // The rounds depend on each other; each is one instruction.
  for (uint64_t n = rounds; n > 0; n = n > 1 ? (n + width - 1) / width : 0)
    cost.repeats += static_cast<uint32_t>(n);
  if (!in.Issue(cost)) return;
  in.MarkUnwritten(o.tmp.ref(), 0, tmp);
  in.MarkWritten(o.dst.ref(), 0, sizeof(T) * (index ? 2 : 1));
  std::vector<Reduced<T>> values;
  ReadValues(in, o.src, walk, values);
  const Reduced<T> result = ReduceValues(values, kind);
  const T parts[2] = {result.value, IndexBits<T>(result.index)};
  std::memcpy(in.Data(o.dst.ref()), parts, sizeof(T) * (index ? 2 : 1));
}

template <class T>
ReduceWalk CountWalk(int32_t count) {
  return {CountLanes(count, sizeof(T)), 1, 0};
}
template <class T, class Mask>
ReduceWalk MaskWalk(Mask mask, int32_t repeatTime, int32_t srcRepStride) {
  return {MaskLanes(mask, 1, sizeof(T), true), repeatTime, static_cast<uint64_t>(srcRepStride) * 32};
}

}  // namespace twin

namespace AscendC {

#define TWIN_REDUCE_EXTREME(Name, Kind)                                                                     \
  template <class T>                                                                                        \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,    \
            const int32_t count, bool calIndex = 0, TWIN_SITE) {                                            \
    twin::ReduceVector<T>(#Name, twin::ReduceKind::Kind, {dst, src, sharedTmpBuffer},                       \
                          twin::CountWalk<T>(count), calIndex, site);                                       \
  }                                                                                                         \
  template <class T>                                                                                        \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,    \
            const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride, bool calIndex = 0,    \
            TWIN_SITE) {                                                                                    \
    twin::ReduceVector<T>(#Name, twin::ReduceKind::Kind, {dst, src, sharedTmpBuffer},                       \
                          twin::MaskWalk<T>(static_cast<uint64_t>(mask), repeatTime, srcRepStride),         \
                          calIndex, site);                                                                  \
  }                                                                                                         \
  template <class T>                                                                                        \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,    \
            const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride, bool calIndex = 0, \
            TWIN_SITE) {                                                                                    \
    twin::ReduceVector<T>(#Name, twin::ReduceKind::Kind, {dst, src, sharedTmpBuffer},                       \
                          twin::MaskWalk<T>(mask, repeatTime, srcRepStride), calIndex, site);               \
  }
TWIN_REDUCE_EXTREME(ReduceMax, kMax)
TWIN_REDUCE_EXTREME(ReduceMin, kMin)
#undef TWIN_REDUCE_EXTREME

template <class T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t count, TWIN_SITE) {
  twin::ReduceVector<T>("ReduceSum", twin::ReduceKind::kSum, {dst, src, sharedTmpBuffer},
                        twin::CountWalk<T>(count), false, site);
}
template <class T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride, TWIN_SITE) {
  twin::ReduceVector<T>("ReduceSum", twin::ReduceKind::kSum, {dst, src, sharedTmpBuffer},
                        twin::MaskWalk<T>(static_cast<uint64_t>(mask), repeatTime, srcRepStride), false,
                        site);
}
template <class T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride, TWIN_SITE) {
  twin::ReduceVector<T>("ReduceSum", twin::ReduceKind::kSum, {dst, src, sharedTmpBuffer},
                        twin::MaskWalk<T>(mask, repeatTime, srcRepStride), false, site);
}

}  // namespace AscendC
