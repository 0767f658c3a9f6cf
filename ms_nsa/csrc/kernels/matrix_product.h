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

// How a product is shared out: tasks of rows by columns.
template <class Dot>
struct ProductShares {
  using V = typename Dot::Vec;
  static constexpr int64_t kPanel = V::kLanes * V::kTileVectors;
  // A panel of B this deep stays in L1 while a task's rows pass (matrix tiles took 20 % longer with twice the
  // depth).
  static constexpr int64_t kDepth = 256;

  // By vectors, a task packs the columns' operands of one panel at a time, which 256 rows make a small part
  // of the work. Matrix tiles are so fast that packing counts. Where A's rows lie along the depth, a task
  // packs 1 MB of them, which stays in L2, and B, a weight, is packed once for all tasks: 15 to 25 % less
  // time than 1024 rows by 256 columns a task. (Rows of one tile side by side, and B's next panel prefetched,
  // gained nothing; fp32 took 5 to 10 % longer with a B from L2.) Otherwise, 512 rows by 512 columns a task.
  explicit ProductShares(const MatrixProductParams& p) {
    const bool across = p.of == ProductOf::kColumnsAndColumns, long_rows = Dot::kMatrixTiles && !across;
    block = long_rows ? 2048 : kDepth;
    sums = long_rows && p.depth <= block ? kPanel : 512;
    row_tasks = Max(1, CeilDiv(p.rows, Dot::kMatrixTiles && across ? 512 : 256));
    rows = RoundUp(CeilDiv(p.rows, row_tasks), 16);
    // A few tasks for every thread.
    const int64_t share = RoundUp(CeilDiv(p.columns, CeilDiv(4 * MaxThreads(), row_tasks)), kPanel);
    columns = long_rows ? share : Min(sums, share);
    column_tasks = columns == 0 ? 0 : CeilDiv(p.columns, columns);
    packed_once = long_rows && row_tasks > 1;
  }

  int64_t rows, row_tasks, columns, column_tasks;
  int64_t block;     // of A's depth that is packed at once
  int64_t sums;      // columns whose sums are kept while the depth passes
  bool packed_once;  // B, for all tasks
};

template <class Dot, class E>
class MatrixProduct {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;
  using Operand = typename Dot::Operand;
  using Shares = ProductShares<Dot>;
  static constexpr int64_t kPanel = Shares::kPanel, kDepth = Shares::kDepth;

  MatrixProduct(Arena& shared, const MatrixProductParams& p, const Shares& shares)
      : p_(p),
        shares_(shares),
        all_b_(shares.packed_once ? shared.Take<Operand>(CeilDiv(p.columns, kPanel) * PanelSize())
                                  : nullptr) {}

  // For all tasks: the columns' operands of one panel.
  void PackPanel(int64_t panel) {
    for (int64_t k = 0; k < p_.depth; k += kDepth)
      PackColumns(panel * kPanel, k, all_b_ + panel * PanelSize() + k * kPanel);
  }

  void TakeOwn(Arena& own) {
    const int64_t portions = CeilDiv(Min(shares_.block, Max(1, p_.depth)), kDepth);
    a_ = own.Take<Operand>(portions * PortionSize());
    b_ = own.Take<Operand>(RowStride<Dot>(kDepth) * kPanel);
    sums_ = own.Take<float>(shares_.rows * shares_.sums);
    a_row_ = own.Take<const Operand*>(portions * shares_.rows);
    c_row_ = own.Take<float*>(shares_.rows);
  }

  void Run(int64_t first_row, int64_t first_column) {
    const int64_t rows = Min(shares_.rows, p_.rows - first_row);
    const int64_t end = Min(first_column + shares_.columns, p_.columns);
    int64_t packed = -1;
    for (int64_t c = first_column; c < end; c += shares_.sums) {
      const int64_t columns = Min(shares_.sums, end - c);
      if (p_.depth == 0) std::memset(sums_, 0, shares_.rows * shares_.sums * sizeof(float));
      for (int64_t k = 0; k < p_.depth; k += shares_.block) {
        const int64_t depth = Min(shares_.block, p_.depth - k);
        if (packed != k) PackRows(first_row, rows, k, depth);
        packed = k;
        for (int64_t panel = 0; panel < columns; panel += kPanel) MultiplyPanel(rows, c, panel, k, depth);
      }
      S* out = static_cast<S*>(p_.c) + first_row * p_.columns + c;
      for (int64_t r = 0; r < rows; ++r)
        StoreRow<V, E>(out + r * p_.columns, sums_ + r * shares_.sums, columns);
    }
  }

 private:
  bool RowsLieAlongDepth() const { return p_.of != ProductOf::kColumnsAndColumns; }
  bool PackedAlongDepth() const { return Dot::kMatrixTiles || RowsLieAlongDepth(); }
  int64_t PanelSize() const { return RoundUp(p_.depth, Dot::kPair) * kPanel; }
  int64_t PortionSize() const { return RoundUp(shares_.rows, kPanel) * RowStride<Dot>(kDepth); }

  // Elements from one depth step of rows [r, ...) to the next.
  int64_t Step(int64_t rows, int64_t r) const {
    if (PackedAlongDepth()) return Dot::kPair;
    return RoundUp(Min(kPanel, rows - r), V::kLanes) * Dot::kPair;
  }

  // A block of the depth of a task's rows. Rows that lie along the depth are read from end to end.
  void PackRows(int64_t first_row, int64_t rows, int64_t k, int64_t depth) {
    const S* from = static_cast<const S*>(p_.a) +
                    (RowsLieAlongDepth() ? first_row * p_.depth + k : k * p_.rows + first_row);
    const int64_t stride = RowStride<Dot>(kDepth);
    if (!RowsLieAlongDepth()) {
      for (int64_t first = 0; first < depth; first += kDepth)
        PackSteps([&](int64_t i) { return from + (first + i) * p_.rows; }, rows, Min(kDepth, depth - first),
                  first / kDepth);
      return;
    }
    for (int64_t r = 0; r < rows; ++r, from += p_.depth) {
      for (int64_t first = 0; first < depth; first += kDepth) {
        Operand* to = a_ + first / kDepth * PortionSize() + r * stride;
        PackRow<Dot, E>(from + first, Min(kDepth, depth - first), to);
        a_row_[first / kDepth * shares_.rows + r] = to;
      }
    }
  }

  // Rows that lie across the depth.
  template <class Row>
  void PackSteps(Row row, int64_t rows, int64_t depth, int64_t portion) {
    const int64_t stride = RowStride<Dot>(kDepth), steps = CeilDiv(depth, Dot::kPair);
    Operand* to = a_ + portion * PortionSize();
    const Operand** a_row = a_row_ + portion * shares_.rows;
    if constexpr (Dot::kMatrixTiles) {
      PackTurned<Dot, E>(row, depth, rows, to, stride);
      for (int64_t r = 0; r < rows; ++r) a_row[r] = to + r * stride;
    } else {
      PackInterleaved<Dot, E>(row, depth, rows, to);
      for (int64_t r = 0; r < rows; ++r)
        a_row[r] = to + r / kPanel * kPanel * Dot::kPair * steps + r % kPanel * Dot::kPair;
    }
  }

  // A portion of the depth of the panel that begins with a column.
  void PackColumns(int64_t column, int64_t k, Operand* to) const {
    const S* b = static_cast<const S*>(p_.b);
    const int64_t depth = Min(kDepth, p_.depth - k), columns = Min(kPanel, p_.columns - column);
    if (p_.of == ProductOf::kRowsAndRows)
      return PackTransposed<Dot, E>(b + column * p_.depth + k, p_.depth, columns, depth, to);
    const auto row = [&](int64_t i) { return b + (k + i) * p_.columns + column; };
    PackInterleaved<Dot, E>(row, depth, columns, to);
  }

  // Adds the products of a block of the depth to the sums of one panel.
  void MultiplyPanel(int64_t rows, int64_t first_column, int64_t panel, int64_t first, int64_t depth) {
    const int64_t column = first_column + panel, together = PackedAlongDepth() ? rows : kPanel;
    const int64_t vectors = CeilDiv(Min(kPanel, p_.columns - column), V::kLanes);
    for (int64_t r = 0; r < rows; ++r) c_row_[r] = sums_ + r * shares_.sums + panel;
    for (int64_t portion = 0; portion * kDepth < depth; ++portion) {
      const int64_t k = first + portion * kDepth;
      if (!shares_.packed_once) PackColumns(column, k, b_);
      const Operand* packed = shares_.packed_once ? all_b_ + column / kPanel * PanelSize() + k * kPanel : b_;
      const PackedB<Dot> b{packed, CeilDiv(Min(kDepth, p_.depth - k), Dot::kPair), vectors};
      for (int64_t r = 0; r < rows; r += together)
        Gemm<Dot>(Min(together, rows - r), a_row_ + portion * shares_.rows + r, Step(rows, r), b, c_row_ + r,
                  k == 0 ? Init::kZero : Init::kLoad);
    }
  }

  const MatrixProductParams& p_;
  const Shares& shares_;
  Operand* all_b_;  // [panels][depth][kPanel]
  Operand* a_;      // [portions][rows][kDepth]
  Operand* b_;      // [kDepth][kPanel]
  float* sums_;     // [rows][sums]
  const Operand** a_row_;
  float** c_row_;
};

template <class Dot, class E>
void MultiplyMatrices(const MatrixProductParams& p) {
  if (MultiplyFewRows<Dot, E>(p)) return;
  const ProductShares<Dot> shares(p);
  const int64_t tasks = shares.row_tasks * shares.column_tasks;
  const Team team(tasks, p.max_threads);
  Arena shared_size, own_size;
  MatrixProduct<Dot, E>(shared_size, p, shares).TakeOwn(own_size);
  const Buffer<char> memory(shared_size.used() + team.members() * own_size.used());
  Arena shared(memory.get());
  MatrixProduct<Dot, E> product(shared, p, shares);
  if (shares.packed_once) {
    int64_t next_panel = 0;
    const int64_t panels = CeilDiv(p.columns, ProductShares<Dot>::kPanel);
    team.Run([&](int) {
      for (int64_t i; (i = TakeTask(&next_panel)) < panels;) product.PackPanel(i);
    });
  }
  int64_t next_task = 0;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena own(memory.get() + shared.used() + member * own_size.used());
    MatrixProduct<Dot, E> mine = product;
    mine.TakeOwn(own);
    for (int64_t i; (i = TakeTask(&next_task)) < tasks;)
      mine.Run(i / shares.column_tasks * shares.rows, i % shares.column_tasks * shares.columns);
  });
}

}  // namespace
}  // namespace ms_nsa
