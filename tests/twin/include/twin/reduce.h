// SPDX-License-Identifier: Apache-2.0
// WholeReduce, BlockReduce, PairReduceSum: one instruction over repeats. Sums add neighbours in a tree.
#pragma once

#include <vector>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

enum class ReduceKind { kMax, kMin, kSum };

template <class T>
struct Reduced {
  T value;
  uint32_t index;
};

// values with the position that each came from; ties keep the lowest position.
template <class T>
Reduced<T> ReduceValues(const std::vector<Reduced<T>>& in, ReduceKind kind) {
  if (kind != ReduceKind::kSum) {
    Reduced<T> best = in.front();
    for (const Reduced<T>& v : in) {
      if (kind == ReduceKind::kMax ? v.value > best.value : v.value < best.value) best = v;
    }
    return best;
  }
  std::vector<float> tree;
  for (const Reduced<T>& v : in) tree.push_back(static_cast<float>(v.value));
  while (tree.size() > 1) {
    if (tree.size() % 2) tree.push_back(0.0f);
    for (size_t i = 0; i < tree.size() / 2; ++i) tree[i] = tree[2 * i] + tree[2 * i + 1];
    tree.resize(tree.size() / 2);
  }
  return {static_cast<T>(tree.front()), 0};
}

// The lanes of repeat r, in groups of `group` lanes; f(group number, values) for groups with an active lane.
template <class T, class F>
void ForGroups(const Lanes& lanes, const View<T>& from, uint32_t r, uint32_t group, F f) {
  std::vector<Reduced<T>> values;
  const uint32_t front = lanes.prefix ? lanes.Front(r) : 0;
  for (uint32_t begin = 0; begin < lanes.width; begin += group) {
    values.clear();
    for (uint32_t l = begin; l < begin + group; ++l) {
      if (lanes.prefix ? l < front : lanes.Bit(l)) values.push_back({from.Load(r, l), l});
    }
    if (!values.empty()) f(begin / group, values);
  }
}

template <class T>
T IndexBits(uint32_t index) {
  T v;
  if (sizeof(T) == 2) {
    const uint16_t narrow = static_cast<uint16_t>(index);
    std::memcpy(&v, &narrow, 2);
  } else {
    std::memcpy(&v, &index, sizeof(T));
  }
  return v;
}

// Groups of a repeat that have an active lane, when those are the first ones.
inline uint32_t CeilLanes(const Lanes& lanes, uint32_t group) {
  if (!lanes.prefix) return lanes.width / group;
  const uint64_t front = std::min<uint64_t>(lanes.active, lanes.width);
  return static_cast<uint32_t>((front + group - 1) / group);
}

struct ReduceShape {
  uint32_t group;       // lanes that make one result; 0: all of a repeat
  uint32_t per_repeat;  // results of a repeat
  uint32_t unit;        // bytes of one step of dstRepStride
  bool value, index;    // what is stored
  bool index_first;
  // An index beside its value has the value's size; alone it is a uint32_t.
  uint32_t Cell(uint32_t size) const { return value ? (index ? 2 * size : size) : 4; }
};

template <class T>
void StoreReduced(uint8_t* to, const Reduced<T>& result, const ReduceShape& shape) {
  if (!shape.value) {
    std::memcpy(to, &result.index, sizeof(result.index));
    return;
  }
  const T index = IndexBits<T>(result.index);
  const T parts[2] = {shape.index_first ? index : result.value, shape.index_first ? result.value : index};
  std::memcpy(to, parts, shape.Cell(sizeof(T)));
}

template <class T>
void RunReduce(Instr& in, ReduceKind kind, const AscendC::LocalTensor<T>& dst,
               const AscendC::LocalTensor<T>& src, const Lanes& lanes, int32_t dst_stride, int32_t src_block,
               int32_t src_repeat, const ReduceShape& shape) {
  RequireType<T, half, float>(in);
  const uint32_t cell = shape.Cell(sizeof(T));
  in.In(dst.ref(), "dst", kUbOnly, cell);
  in.In(src.ref(), "src", kUbOnly, 32);
  CheckLanes(in, lanes);
  in.Require(dst_stride >= 0 && dst_stride <= 65535, Rule::kRepeat,
             "dstRepStride must lie in [0, 65535], got %d", dst_stride);
  in.Require(src_repeat >= 0 && src_repeat <= 65535, Rule::kRepeat,
             "srcRepStride must lie in [0, 65535], got %d", src_repeat);
  if (!in.ok()) return;
  const Strides s{src_block, 1, static_cast<uint32_t>(src_repeat) * 32};
  TouchLanes(in, Access::kRead, src.ref(), "src", sizeof(T), s, lanes);
  auto at = [&](uint32_t r, uint32_t g) {
    return uint64_t{r} * static_cast<uint32_t>(dst_stride) * shape.unit + g * cell;
  };
  const uint32_t group = shape.group ? shape.group : lanes.width;
  const uint32_t groups = std::min<uint32_t>(shape.per_repeat, CeilLanes(lanes, group));
  for (uint32_t r = 0; r < lanes.Repeats(); ++r)
    in.Touch(Access::kWrite, dst.ref(), "dst", at(r, 0), uint64_t{groups} * cell);
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  if (!in.Issue(cost)) return;
  const View<T> from(in.Data(src.ref()), s);
  for (uint32_t r = 0; r < lanes.Repeats(); ++r) {
    ForGroups(lanes, from, r, group, [&](uint32_t g, const std::vector<Reduced<T>>& values) {
      StoreReduced(in.Data(dst.ref(), at(r, g)), ReduceValues(values, kind), shape);
    });
  }
}

template <class T>
ReduceShape WholeShape(ReduceKind kind, AscendC::ReduceOrder order) {
  using AscendC::ReduceOrder;
  if (kind == ReduceKind::kSum || order == ReduceOrder::ORDER_ONLY_VALUE)
    return {0, 1, sizeof(T), true, false, false};
  if (order == ReduceOrder::ORDER_ONLY_INDEX) return {0, 1, 4, false, true, false};
  return {0, 1, 2 * sizeof(T), true, true, order == ReduceOrder::ORDER_INDEX_VALUE};
}

}  // namespace twin

namespace AscendC {

#define TWIN_WHOLE_REDUCE(Name, Kind, MaskType)                                                          \
  template <class T, bool isSetMask = true>                                                              \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, MaskType, const int32_t repeatTime,    \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,          \
            ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, TWIN_SITE) {                             \
    twin::Instr in(#Name, twin::Pipe::kV, site);                                                         \
    twin::RunReduce(in, twin::ReduceKind::Kind, dst, src,                                                \
                    twin::MaskLanes(mask, repeatTime, sizeof(T), isSetMask), dstRepStride, srcBlkStride, \
                    srcRepStride, twin::WholeShape<T>(twin::ReduceKind::Kind, order));                   \
  }
#define TWIN_WHOLE_SUM(MaskType)                                                                         \
  template <class T, bool isSetMask = true>                                                              \
  void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, MaskType,                    \
                      const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,  \
                      const int32_t srcRepStride, TWIN_SITE) {                                           \
    twin::Instr in("WholeReduceSum", twin::Pipe::kV, site);                                              \
    twin::RunReduce(in, twin::ReduceKind::kSum, dst, src,                                                \
                    twin::MaskLanes(mask, repeatTime, sizeof(T), isSetMask), dstRepStride, srcBlkStride, \
                    srcRepStride, {0, 1, sizeof(T), true, false, false});                                \
  }
// dstRepStride counts the 8 results of a repeat for BlockReduce and its 32 or 64 for PairReduceSum.
#define TWIN_GROUP_REDUCE(Name, Kind, Group, Results, Unit, MaskType)                                        \
  template <class T, bool isSetMask = true>                                                                  \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime, MaskType,        \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride, TWIN_SITE) { \
    twin::Instr in(#Name, twin::Pipe::kV, site);                                                             \
    twin::RunReduce(in, twin::ReduceKind::Kind, dst, src,                                                    \
                    twin::MaskLanes(mask, repeatTime, sizeof(T), isSetMask), dstRepStride, srcBlkStride,     \
                    srcRepStride, {Group, Results, Unit, true, false, false});                               \
  }
#define TWIN_COUNT_MASK const int32_t mask
#define TWIN_BIT_MASK const uint64_t mask[]
TWIN_WHOLE_REDUCE(WholeReduceMax, kMax, TWIN_COUNT_MASK)
TWIN_WHOLE_REDUCE(WholeReduceMax, kMax, TWIN_BIT_MASK)
TWIN_WHOLE_REDUCE(WholeReduceMin, kMin, TWIN_COUNT_MASK)
TWIN_WHOLE_REDUCE(WholeReduceMin, kMin, TWIN_BIT_MASK)
TWIN_WHOLE_SUM(TWIN_COUNT_MASK)
TWIN_WHOLE_SUM(TWIN_BIT_MASK)
TWIN_GROUP_REDUCE(BlockReduceMax, kMax, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_COUNT_MASK)
TWIN_GROUP_REDUCE(BlockReduceMax, kMax, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_BIT_MASK)
TWIN_GROUP_REDUCE(BlockReduceMin, kMin, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_COUNT_MASK)
TWIN_GROUP_REDUCE(BlockReduceMin, kMin, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_BIT_MASK)
TWIN_GROUP_REDUCE(BlockReduceSum, kSum, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_COUNT_MASK)
TWIN_GROUP_REDUCE(BlockReduceSum, kSum, 32 / sizeof(T), 8, 8 * sizeof(T), TWIN_BIT_MASK)
TWIN_GROUP_REDUCE(PairReduceSum, kSum, 2, 128 / sizeof(T), 128, TWIN_COUNT_MASK)
TWIN_GROUP_REDUCE(PairReduceSum, kSum, 2, 128 / sizeof(T), 128, TWIN_BIT_MASK)
#undef TWIN_WHOLE_REDUCE
#undef TWIN_WHOLE_SUM
#undef TWIN_GROUP_REDUCE
#undef TWIN_COUNT_MASK
#undef TWIN_BIT_MASK

}  // namespace AscendC
