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
void ReduceVector(const char* api, ReduceKind kind, const AscendC::LocalTensor<T>& dst,
                  const AscendC::LocalTensor<T>& src, const AscendC::LocalTensor<T>& tmp, int32_t count,
                  bool index, Site site) {
  Instr in(api, Pipe::kV, site);
  RequireType<T, half, float>(in);
  in.In(dst.ref(), "dst", kUbOnly, sizeof(T));
  in.In(src.ref(), "src", kUbOnly, 32);
  in.In(tmp.ref(), "sharedTmpBuffer", kUbOnly, 32);
  if (!in.Require(count > 0, Rule::kRange, "count must be at least 1, got %d", count)) return;
  in.Touch(Access::kRead, src.ref(), "src", 0, uint64_t(count) * sizeof(T));
  in.Touch(Access::kStore, tmp.ref(), "sharedTmpBuffer", 0,
           ReduceTmp<T>(uint64_t(count), kind, index) * sizeof(T));
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, sizeof(T) * (index ? 2 : 1));
  const uint32_t width = 256 / sizeof(T);
  Cost cost{Path::kVector};
  // The rounds depend on each other; each is one instruction.
  for (uint64_t n = uint64_t(count); n > 1; n = (n + width - 1) / width)
    cost.repeats += static_cast<uint32_t>((n + width - 1) / width);
  if (!in.Issue(cost)) return;
  in.MarkUnwritten(tmp.ref(), 0, ReduceTmp<T>(uint64_t(count), kind, index) * sizeof(T));
  std::vector<Reduced<T>> values(static_cast<size_t>(count));
  for (uint32_t i = 0; i < values.size(); ++i) {
    std::memcpy(&values[i].value, in.Data(src.ref(), uint64_t{i} * sizeof(T)), sizeof(T));
    values[i].index = i;
  }
  const Reduced<T> result = ReduceValues(values, kind);
  const T parts[2] = {result.value, IndexBits<T>(result.index)};
  std::memcpy(in.Data(dst.ref()), parts, sizeof(T) * (index ? 2 : 1));
}

}  // namespace twin

namespace AscendC {

template <class T>
void ReduceMax(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t count, bool calIndex = 0, TWIN_SITE) {
  twin::ReduceVector("ReduceMax", twin::ReduceKind::kMax, dst, src, sharedTmpBuffer, count, calIndex, site);
}
template <class T>
void ReduceMin(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t count, bool calIndex = 0, TWIN_SITE) {
  twin::ReduceVector("ReduceMin", twin::ReduceKind::kMin, dst, src, sharedTmpBuffer, count, calIndex, site);
}
template <class T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& sharedTmpBuffer,
               const int32_t count, TWIN_SITE) {
  twin::ReduceVector("ReduceSum", twin::ReduceKind::kSum, dst, src, sharedTmpBuffer, count, false, site);
}

}  // namespace AscendC
