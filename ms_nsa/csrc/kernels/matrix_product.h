// SPDX-License-Identifier: Apache-2.0
// Products of whole matrices. Every element of the result is a sum in fp32 along the depth in an order that
// only the policy decides, whatever the number of rows, columns and threads: a row of the result depends on
// no other row.
#pragma once

#include "../params.h"
#include "few_rows_product.h"
#include "pack.h"
#include "threads.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class MatrixProduct {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  static constexpr int64_t kPanel = V::kLanes * V::kTileVectors;
  // A task's part of the result stays in L2 (512 KB of fp32, 1 MB by matrix tiles) with kDepth depth steps of
  // its rows. The columns' operands of one panel are packed once per task and step, which 256 rows make a
  // small part of the work. Matrix tiles want more rows: 10 to 15 % with 1024. (Prefetching the rows that are
  // packed next gained nothing.)
  static constexpr int64_t kRows = Dot::kMatrixTiles ? 1024 : 256;
  static constexpr int64_t kColumns = Dot::kMatrixTiles ? 256 : 512;
  static constexpr int64_t kDepth = 256;

  MatrixProduct(Arena& arena, const MatrixProductParams& p)
      : p_(p),
        most_(Min(kRows, p.rows)),
        a_(arena.Take<Operand>(RoundUp(most_, kPanel) * RowStride<Dot>(kDepth))),
        b_(arena.Take<Operand>(RowStride<Dot>(kDepth) * kPanel)),
        sums_(arena.Take<float>(most_ * kColumns)),
        a_row_(arena.Take<const Operand*>(most_)),
        c_row_(arena.Take<float*>(most_)) {}

  void Run(int64_t first_row, int64_t first_column, int64_t columns) {
    const int64_t rows = Min(kRows, p_.rows - first_row);
    if (p_.depth == 0) std::memset(sums_, 0, most_ * kColumns * sizeof(float));
    for (int64_t k = 0; k < p_.depth; k += kDepth) {
      const int64_t depth = Min(kDepth, p_.depth - k);
      PackRows(first_row, rows, k, depth);
      for (int64_t panel = 0; panel < columns; panel += kPanel)
        Multiply(rows, first_column, panel, Min(kPanel, columns - panel), k, depth);
    }
    S* out = static_cast<S*>(p_.c) + first_row * p_.columns + first_column;
    for (int64_t r = 0; r < rows; ++r)
      StoreRow<V, E>(out + r * p_.columns, sums_ + r * kColumns, columns, 1.0f);
  }

 private:
  bool RowsLieAlongDepth() const { return p_.of != ProductOf::kColumnsAndColumns; }

  // Elements from one depth step of rows [r, ...) to the next.
  int64_t Step(int64_t rows, int64_t r) const {
    if (RowsLieAlongDepth()) return Dot::kPair;
    return RoundUp(Min(kPanel, rows - r), V::kLanes) * Dot::kPair;
  }

  void PackRows(int64_t first_row, int64_t rows, int64_t k, int64_t depth) {
    const S* a = static_cast<const S*>(p_.a);
    if (RowsLieAlongDepth()) {
      const int64_t stride = RowStride<Dot>(kDepth);
      for (int64_t r = 0; r < rows; ++r) {
        a_row_[r] = a_ + r * stride;
        PackRow<Dot, E>(a + (first_row + r) * p_.depth + k, depth, a_ + r * stride);
      }
      return;
    }
    const auto row = [&](int64_t i) { return a + (k + i) * p_.rows + first_row; };
    PackInterleaved<Dot, E>(row, depth, rows, a_);
    const int64_t steps = CeilDiv(depth, Dot::kPair);
    for (int64_t r = 0; r < rows; ++r)
      a_row_[r] = a_ + r / kPanel * kPanel * Dot::kPair * steps + r % kPanel * Dot::kPair;
  }

  void PackColumns(int64_t column, int64_t columns, int64_t k, int64_t depth) {
    const S* b = static_cast<const S*>(p_.b);
    if (p_.of == ProductOf::kRowsAndRows)
      return PackTransposed<Dot, E>(b + column * p_.depth + k, p_.depth, columns, depth, b_);
    const auto row = [&](int64_t i) { return b + (k + i) * p_.columns + column; };
    PackInterleaved<Dot, E>(row, depth, columns, b_);
  }

  void Multiply(int64_t rows, int64_t first_column, int64_t panel, int64_t columns, int64_t k,
                int64_t depth) {
    PackColumns(first_column + panel, columns, k, depth);
    const PackedB<Dot> b{b_, CeilDiv(depth, Dot::kPair), CeilDiv(columns, V::kLanes)};
    for (int64_t r = 0; r < rows; ++r) c_row_[r] = sums_ + r * kColumns + panel;
    const int64_t together = RowsLieAlongDepth() ? rows : kPanel;
    for (int64_t r = 0; r < rows; r += together)
      Gemm<Dot>(Min(together, rows - r), a_row_ + r, Step(rows, r), b, c_row_ + r,
                k == 0 ? Init::kZero : Init::kLoad);
  }

  const MatrixProductParams& p_;
  int64_t most_;  // rows of a task
  Operand *a_, *b_;
  float* sums_;
  const Operand** a_row_;
  float** c_row_;
};

template <class Dot, class E>
void MultiplyMatrices(const MatrixProductParams& p) {
  if (MultiplyFewRows<Dot, E>(p)) return;
  using Product = MatrixProduct<Dot, E>;
  const int64_t row_tasks = CeilDiv(p.rows, Product::kRows);
  // Fewer columns per task where there would be no task for every thread.
  const int64_t share =
      RoundUp(CeilDiv(p.columns, CeilDiv(MaxThreads(), Max(1, row_tasks))), Product::kPanel);
  const int64_t columns = Min(Product::kColumns, share), column_tasks = CeilDiv(p.columns, columns);
  const int64_t tasks = row_tasks * column_tasks;
  const Team team(tasks, p.max_threads);
  Arena sizing;
  Product(sizing, p);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena arena(memory.get() + member * size);
    Product product(arena, p);
    for (int64_t i; (i = TakeTask(&next_task)) < tasks;) {
      const int64_t column = i % column_tasks * columns;
      product.Run(i / column_tasks * Product::kRows, column, Min(columns, p.columns - column));
    }
  });
}

}  // namespace
}  // namespace ms_nsa
