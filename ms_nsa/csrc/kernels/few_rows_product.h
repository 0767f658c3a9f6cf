// SPDX-License-Identifier: Apache-2.0
// The product of few rows with the rows of a large matrix, which projections are in decode: it waits for
// memory, and the large matrix is read once from its first row to its last. The sums are those of
// MatrixProduct in the same order, so a row's bits depend neither on the number of rows nor on the way. Rows
// are not prefetched: processors do that themselves for rows that follow one another (prefetching the next
// task's, at the pace of the work, made fp32 40 % slower and matrix tiles 30 %).
#pragma once

#include "../params.h"
#include "pack.h"
#include "threads.h"

namespace ms_nsa {
namespace {

// What both ways below know of the product.
template <class E>
class FewRowsProduct {
 public:
  using S = typename E::Storage;

  explicit FewRowsProduct(const MatrixProductParams& p) : p_(p) {}

 protected:
  const S* Few(int64_t row) const { return static_cast<const S*>(p_.a) + row * p_.depth; }
  const S* Large(int64_t row) const { return static_cast<const S*>(p_.b) + row * p_.depth; }
  S* Out(int64_t row, int64_t column) const { return static_cast<S*>(p_.c) + row * p_.columns + column; }

  const MatrixProductParams& p_;
};

// By vectors: the large matrix is turned round and becomes B, one panel per task. The other way about, with
// the few rows turned round and the large matrix's elements broadcast, vectors are full only at kLanes rows:
// it took twice as long at one row, 20 % longer at 8, and as long at 16.
template <class Dot, class E>
class FewRowsByVectors : FewRowsProduct<E> {
  using Base = FewRowsProduct<E>;
  using Base::p_;

 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  using Registers = typename Dot::Registers;
  static constexpr int64_t kColumns = V::kLanes * V::kTileVectors;  // of a task

  // Up to so many rows. 2048 columns of depth 2048 took up to 35 % less time at one row and up to 25 % at 8;
  // at 32 rows up to 15 %, and no less at 64.
  static constexpr int64_t kMostRows = 32;
  static bool Serves(const MatrixProductParams& p) { return p.rows <= kMostRows; }

  // All threads share the few rows as operands: rows of A.
  FewRowsByVectors(Arena& shared, const MatrixProductParams& p)
      : Base(p), stride_(RowStride<Dot>(p.depth)), a_(shared.Take<Operand>(p.rows * stride_)) {}

  void PackShared() {
    for (int64_t r = 0; r < p_.rows; ++r) PackRow<Dot, E>(this->Few(r), p_.depth, a_ + r * stride_);
  }

  void TakeOwn(Arena& own) {
    b_ = own.Take<Operand>(kDepth * kColumns);
    sums_ = own.Take<float>(p_.rows * kColumns);
  }

  void Run(int64_t first) {
    const int64_t columns = Min(kColumns, p_.columns - first);
    for (int64_t k = 0; k < p_.depth; k += kDepth) {
      const int64_t depth = Min(kDepth, p_.depth - k);
      PackTransposed<Dot, E>(this->Large(first) + k, p_.depth, columns, depth, b_);
      Multiply(k, {b_, CeilDiv(depth, Dot::kPair), CeilDiv(columns, V::kLanes)});
    }
    for (int64_t r = 0; r < p_.rows; ++r) StoreRow<V, E>(this->Out(r, first), sums_ + r * kColumns, columns);
  }

 private:
  // Packed together: 32 KB of AVX-512 operands, which stay in L1. With twice that fp32 operands took 15 to 25
  // % longer, with half of it 16-bit ones up to 10 %.
  static constexpr int64_t kDepth = 128 * Dot::kPair;

  void Multiply(int64_t k, const PackedB<Dot>& b) {
    const Operand* a[kMostRows];
    float* c[kMostRows];
    for (int64_t r = 0; r < p_.rows; ++r) {
      a[r] = a_ + r * stride_ + k;
      c[r] = sums_ + r * kColumns;
    }
    Gemm<Dot>(p_.rows, a, Dot::kPair, b, c, k == 0 ? Init::kZero : Init::kLoad);
  }

  const int64_t stride_;
  Operand* a_;   // [rows][stride_]
  Operand* b_;   // [kDepth][kColumns]
  float* sums_;  // [rows][kColumns]
};

// By matrix tiles: the large matrix is A, and its rows are read where they lie (copied first, 8 KB at a time,
// 50 % longer). Only the few rows are turned round.
template <class Dot, class E>
class FewRowsByTiles : FewRowsProduct<E> {
  using Base = FewRowsProduct<E>;
  using Base::p_;

 public:
  using V = typename Dot::Vec;
  using Operand = typename Dot::Operand;
  using Registers = typename Dot::Registers;
  static constexpr int64_t kColumns = Dot::kMatrixRows;  // of a task
  static_assert(kColumns == V::kLanes, "Store turns one register per column round");

  // Up to so many rows. 2048 columns of depth 2048 took 35 to 45 % less time up to 16 rows, and 25 to 45 %
  // less at 64; 512 columns took 10 % more at 128.
  static constexpr int64_t kMostRows = 64;
  static bool Serves(const MatrixProductParams& p) {
    return p.rows <= kMostRows && p.depth % Dot::kPair == 0;  // A ends with a pair
  }

  // All threads share the few rows as B.
  FewRowsByTiles(Arena& shared, const MatrixProductParams& p)
      : Base(p),
        vectors_(CeilDiv(p.rows, V::kLanes)),
        b_(shared.Take<Operand>(PackedSize<Dot>(p.depth, p.rows))) {}

  void PackShared() { PackTransposed<Dot, E>(this->Few(0), p_.depth, p_.rows, p_.depth, b_); }

  void TakeOwn(Arena& own) { sums_ = own.Take<float>(kColumns * vectors_ * V::kLanes); }

  void Run(int64_t first) {
    const int64_t columns = Min(kColumns, p_.columns - first);
    const Operand* a[kColumns];
    float* c[kColumns];
    for (int64_t i = 0; i < columns; ++i) {
      a[i] = this->Large(first + i);
      c[i] = sums_ + i * vectors_ * V::kLanes;
    }
    Gemm<Dot>(columns, a, Dot::kPair, {b_, p_.depth / Dot::kPair, vectors_}, c, Init::kZero);
    for (int64_t row = 0; row < p_.rows; row += V::kLanes) Store(row, first, columns);
  }

 private:
  // A vector of the few rows.
  void Store(int64_t row, int64_t first, int64_t columns) {
    typename V::Reg tile[V::kLanes];
    for (int64_t i = 0; i < V::kLanes; ++i)
      tile[i] = i < columns ? V::Load(sums_ + i * vectors_ * V::kLanes + row) : V::Zero();
    V::Transpose(tile);
    for (int64_t r = 0; r < Min(V::kLanes, p_.rows - row); ++r) {
      float turned[V::kLanes];
      V::Store(turned, tile[r]);
      StoreRow<V, E>(this->Out(row + r, first), turned, columns);
    }
  }

  const int64_t vectors_;  // of the few rows
  Operand* b_;             // [depth][vectors_ * kLanes]
  float* sums_;            // [kColumns][vectors_ * kLanes]
};

template <class Product>
void RunFewRows(const MatrixProductParams& p) {
  const int64_t tasks = CeilDiv(p.columns, Product::kColumns);
  const Team team(tasks, p.max_threads);
  Arena shared_size, own_size;
  Product(shared_size, p).TakeOwn(own_size);
  const Buffer<char> memory(shared_size.used() + team.members() * own_size.used());
  Arena shared(memory.get());
  Product product(shared, p);
  product.PackShared();
  int64_t next_task = 0;
  team.Run([&](int member) {
    const typename Product::Registers registers;
    Arena own(memory.get() + shared.used() + member * own_size.used());
    Product mine = product;
    mine.TakeOwn(own);
    for (int64_t i; (i = TakeTask(&next_task)) < tasks;) mine.Run(i * Product::kColumns);
  });
}

// Returns whether it has served.
template <class Dot, class E>
bool MultiplyFewRows(const MatrixProductParams& p) {
  if (p.of != ProductOf::kRowsAndRows || p.depth == 0) return false;
  if constexpr (Dot::kMatrixTiles) {
    if (!FewRowsByTiles<Dot, E>::Serves(p)) return false;
    RunFewRows<FewRowsByTiles<Dot, E>>(p);
  } else {
    if (!FewRowsByVectors<Dot, E>::Serves(p)) return false;
    RunFewRows<FewRowsByVectors<Dot, E>>(p);
  }
  return true;
}

}  // namespace
}  // namespace ms_nsa
