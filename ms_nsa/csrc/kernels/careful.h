// SPDX-License-Identifier: Apache-2.0
// Products for the rare tile with both hidden keys and non-finite data: 0 * NaN would bring hidden data into
// the result.
#pragma once

#include "pack.h"

namespace ms_nsa {
namespace {

// A tile's keys or values as some rows see them: zeros stand for those that are hidden. Products with them
// have the bits that any finite hidden data would leave.
template <class Dot, class E>
class RowsInView {
 public:
  using Storage = typename E::Storage;

  RowsInView(Arena& arena, int64_t most_rows, int64_t width)
      : width_(width),
        operands_(arena.Take<typename Dot::Operand>(PackedSize<Dot>(most_rows, width))),
        zeros_(arena.Take<Storage>(width)) {}

  PackedB<Dot> Pack(uint64_t visible, const Storage* rows, int64_t stride, int64_t count) const {
    std::memset(zeros_, 0, width_ * sizeof(Storage));
    const auto row = [=](int64_t i) { return (visible >> i & 1) != 0 ? rows + i * stride : zeros_; };
    PackInterleaved<Dot, E>(row, count, width_, operands_);
    return {operands_, CeilDiv(count, Dot::kPair), CeilDiv(width_, Dot::Vec::kLanes)};
  }

 private:
  const int64_t width_;
  typename Dot::Operand* operands_;
  Storage* zeros_;
};

// to[i] += weight * from[i]; to is padded to whole vectors, from is not.
template <class V, class E>
inline void AddScaledRow(float* to, float weight, const typename E::Storage* from, int64_t width) {
  const auto w = V::Set1(weight);
  int64_t i = 0;
  for (; i + V::kLanes <= width; i += V::kLanes)
    V::Store(to + i, V::Fma(w, E::Load(from + i), V::Load(to + i)));
  if (i == width) return;
  V::Store(to + i, V::Fma(w, LoadUpTo<V, E>(from + i, width - i), V::Load(to + i)));
}

template <class F>
inline void ForEachVisible(uint64_t visible, F f) {
  for (; visible != 0; visible &= visible - 1) f(static_cast<int64_t>(__builtin_ctzll(visible)));
}

}  // namespace
}  // namespace ms_nsa
