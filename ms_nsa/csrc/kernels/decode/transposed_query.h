// SPDX-License-Identifier: Apache-2.0
// A token's query heads as the columns of a product, a vector of them at a time.
#pragma once

#include "../pack.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class TransposedQuery {
 public:
  using Operand = typename Dot::Operand;
  static constexpr int64_t kHeads = Dot::Vec::kLanes;

  TransposedQuery(Arena& arena, int64_t heads, int64_t width)
      : heads_(heads),
        width_(width),
        size_(PackedSize<Dot>(RowStride<Dot>(width), kHeads)),
        query_(arena.Take<Operand>(CeilDiv(heads, kHeads) * size_)) {}

  void Start(const typename E::Storage* query) const {
    const int64_t packed = PackedSize<Dot>(width_, kHeads);
    for (int64_t first = 0; first < heads_; first += kHeads) {
      Operand* group = query_ + first / kHeads * size_;
      PackTransposed<Dot, E>(query + first * width_, width_, Min(kHeads, heads_ - first), width_, group);
      std::memset(group + packed, 0, (size_ - packed) * sizeof(Operand));
    }
  }

  // Heads [group * kHeads, ...); zeros where there are fewer. Behind the last depth step come zeros up to
  // RowStride.
  PackedB<Dot> Group(int64_t group) const { return {query_ + group * size_, CeilDiv(width_, Dot::kPair), 1}; }

 private:
  const int64_t heads_, width_, size_;
  Operand* query_;
};

}  // namespace
}  // namespace ms_nsa
