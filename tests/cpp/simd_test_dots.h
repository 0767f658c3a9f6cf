// SPDX-License-Identifier: Apache-2.0
// The operations of a dot policy. How operands lie in memory is the policy's own affair, except rows of A, so
// its operands of B are looked at through products.
#pragma once

#include MS_NSA_SIMD_HEADER
#include "../../ms_nsa/csrc/simd/float_dot.h"
#include "simd_planted.h"

namespace simd_test {

template <class D, class E>
class DotTest {
 public:
  using V = typename D::Vec;
  using Operand = typename D::Operand;
  using S = typename E::Storage;
  static constexpr int kLanes = V::kLanes, kPair = D::kPair, kRow = kLanes * kPair;

  explicit DotTest(Report& report) : report_(report) {
    for (int i = 0; i < kPair; ++i) {
      for (int j = 0; j < 2 * kRow; ++j) value_[i][j] = static_cast<float>((i * 53 + j * 17) % 61 - 30);
      for (int j = 0; j < 2 * kRow; j += kLanes) E::Store(row_[i] + j, V::Load(value_[i] + j));
    }
  }

  void Run() {
    static_assert(kPair == 1 || kPair == 2);
    CopiedPairs();
    Transposed();
    StoredRows();
    StoredPairs();
    Depths();
    Columns();
    Limits();
    Rounding();
    if constexpr (D::kMatrixTiles) MatrixTiles();
  }

 private:
  static float Element(const Operand* p) {
    Operand padded[kRow] = {};
    padded[0] = *p;
    float lane[kLanes];
    V::Store(lane, D::Element::Load(padded));
    return lane[0];
  }
  static void StoreElement(Operand* p, float x) {
    Operand padded[kRow];
    D::Element::Store(padded, V::Set1(x));
    *p = padded[0];
  }

  // A step's product with this pair of A, by both ways to multiply; the second is in `other`.
  void Product(const float* pair, typename D::B b, float acc, float* lane, float* other) const {
    Operand a[kPair];
    for (int i = 0; i < kPair; ++i) StoreElement(a + i, pair[i]);
    V::Store(lane, D::MulAdd(V::Set1(acc), D::Broadcast(a), b));
    V::Store(other, D::MulAddBroadcast(V::Set1(acc), a, b));
  }

  // b must hold column[i] of each of the pair's rows in lane i.
  template <class Column>
  void CheckB(const char* name, typename D::B b, Column column) {
    const float pairs[][2] = {{1, 0}, {0, 1}, {3, -5}};
    for (const float (&pair)[2] : pairs) {
      float lane[kLanes], other[kLanes];
      Product(pair, b, 7.0f, lane, other);
      for (int i = 0; i < kLanes; ++i) {
        float want = 7.0f;
        for (int k = 0; k < kPair; ++k) want += pair[k] * column(k, i);
        for (const char* operation : {name, "Broadcast", "MulAdd"}) report_.Same(operation, lane[i], want);
        report_.Same("MulAddBroadcast", other[i], want);
      }
    }
  }

  void CopiedPairs() {
    Operand b[kRow];
    D::template CopyPair<E>(b, row_[0] + 1, row_[kPair - 1] + 1);
    for (const char* name : {"CopyPair", "LoadB"})
      CheckB(name, D::LoadB(b), [&](int k, int i) { return value_[k][i + 1]; });
  }

  // What TransposeTile does.
  void Transposed() {
    typename V::Reg tile[kLanes];
    S row[kLanes][kRow];
    float value[kLanes][kRow];
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < kRow; ++j) value[i][j] = static_cast<float>((i * 29 + j * 13) % 47 - 20);
      for (int j = 0; j < kRow; j += kLanes) E::Store(row[i] + j, V::Load(value[i] + j));
      tile[i] = D::template LoadDepth<E>(row[i]);
    }
    V::Transpose(tile);
    for (int step = 0; step < kLanes; ++step) {
      Operand b[kRow];
      D::StoreColumns(b, tile[step]);
      CheckB("StoreColumns", D::LoadB(b), [&](int k, int i) { return value[i][step * kPair + k]; });
    }
  }

  // Subnormals may become zero.
  void CheckOperand(const char* name, const Operand* p, float x) {
    float want;
    Operand stored;
    StoreElement(&stored, x);
    want = Element(&stored);
    if (std::fabs(want) < 0x1p-125f) return report_.True(name, std::fabs(Element(p)) <= std::fabs(want));
    report_.Same(name, Element(p), want);
  }

  void StoredRows() {
    const std::vector<float> sample = Samples();
    for (size_t first = 0; first + 2 * kLanes <= sample.size(); ++first) {
      Operand one[kLanes], two[2 * kLanes];
      const auto x = V::Load(&sample[first]), y = V::Load(&sample[first + kLanes]);
      D::StoreRow(one, x);
      D::StoreRow(two, x, y);
      for (int i = 0; i < kLanes; ++i) CheckOperand("StoreRow", one + i, sample[first + i]);
      for (int i = 0; i < 2 * kLanes; ++i) CheckOperand("StoreRow", two + i, sample[first + i]);
    }
  }

  void StoredPairs() {
    const std::vector<float> sample = Samples();
    for (size_t first = 0; first + 2 * kLanes <= sample.size(); ++first) {
      Operand pairs[kRow];
      D::StorePair(pairs, V::Load(&sample[first]), V::Load(&sample[first + kLanes]));
      for (int i = 0; i < kRow; ++i)
        CheckOperand("StorePair", pairs + i, sample[first + i / kPair + i % kPair * kLanes]);
    }
  }

  // Rows of A as they lie, and products of two of them whose lanes are added up afterwards.
  void Depths() {
    Operand a[kRow];
    D::StoreDepth(a, D::template LoadDepth<E>(row_[0]));
    float sum = 0;
    for (int i = 0; i < kRow; ++i) {
      for (const char* name : {"LoadDepth", "StoreDepth"}) report_.Same(name, Element(a + i), value_[0][i]);
      sum += value_[0][i] * value_[0][i];
    }
    const float got = V::ReduceAdd(D::MulAdd(V::Zero(), D::template LoadRow<E>(row_[0]), D::LoadB(a)));
    report_.Same("LoadRow", got, sum);
  }

  void Columns() {
    const S* row[kPair];
    for (int i = 0; i < kPair; ++i) row[i] = row_[i];
    typename D::B b[kPair];
    for (int column : {0, 3}) {
      D::template LoadColumns<E>(row, column, b);
      for (int v = 0; v < kPair; ++v) {
        CheckB("LoadColumns", b[v], [&](int k, int i) { return value_[k][column + v * kLanes + i]; });
      }
    }
  }

  // Products with zero stay zero for finite elements only; infinity and NaN arrive.
  void Limits() {
    const float zeros[2] = {}, ones[2] = {1, 1};
    for (const float x : {kMax, -65504.0f, 1e-3f, kInf, -kInf, kNan}) {
      Operand b[kRow];
      for (Operand& element : b) StoreElement(&element, x);
      const float stored = Element(b);  // kMax may be infinite in 16 bits
      float lane[kLanes], other[kLanes];
      Product(zeros, D::LoadB(b), 0.0f, lane, other);
      for (int i = 0; i < kLanes; ++i) report_.Same("MulAdd", lane[i], stored * 0.0f + 0.0f);
      if (std::isfinite(stored)) continue;
      Product(ones, D::LoadB(b), 1.0f, lane, other);
      for (int i = 0; i < kLanes; ++i) report_.Same("MulAdd", lane[i], stored);
    }
  }

  // Products of operands are exact in fp32 or rounded once; sums may round at every step, up to a whole
  // place.
  void Rounding() {
    uint32_t state = 1;
    const auto random = [&] {
      state = state * 1664525u + 1013904223u;
      return std::ldexp(1.0f + static_cast<float>(state >> 9) * 0x1p-23f,
                        static_cast<int>(state >> 4 & 15) - 8);
    };
    for (int repeat = 0; repeat < 200; ++repeat) {
      Operand b[kRow], a[kPair];
      float pair[2], lane[kLanes], other[kLanes];
      for (int k = 0; k < kPair; ++k) {
        StoreElement(a + k, random());
        pair[k] = Element(a + k);
      }
      const float x = random(), acc = repeat % 2 ? random() : -random();
      for (Operand& element : b) StoreElement(&element, x);
      Product(pair, D::LoadB(b), acc, lane, other);
      double want = acc, size = std::fabs(acc);
      for (int k = 0; k < kPair; ++k) want += double{pair[k]} * Element(b), size += pair[k] * Element(b);
      for (int i = 0; i < kLanes; ++i) report_.Near("MulAdd", lane[i], want, size * 0x1p-22);
    }
  }

  // C += A * B of whole tiles: whole numbers, and one row of A with a NaN, which must stay in its row of C.
  void MatrixTiles() {
    constexpr int kRows = D::kMatrixRows, kDepth = D::kMatrixDepth;
    float a[kRows][kDepth], b[kDepth][kLanes], c[kRows][kLanes + 1];
    Operand a_tile[kRows][kDepth], b_tile[kDepth / kPair][kRow];
    for (int r = 0; r < kRows; ++r) {
      for (int k = 0; k < kDepth; ++k) a[r][k] = static_cast<float>((r * 31 + k * 11) % 23 - 11);
      for (float& x : c[r]) x = static_cast<float>(r - 5);
    }
    a[kRows - 2][3] = kNan;
    for (int k = 0; k < kDepth; ++k)
      for (int i = 0; i < kLanes; ++i) b[k][i] = static_cast<float>((k * 7 + i * 19) % 29 - 14);
    for (int r = 0; r < kRows; ++r)
      for (int k = 0; k < kDepth; k += 2 * kLanes)
        D::StoreRow(a_tile[r] + k, V::Load(a[r] + k), V::Load(a[r] + k + kLanes));
    for (int k = 0; k < kDepth; k += kPair)
      D::StorePair(b_tile[k / kPair], V::Load(b[k]), V::Load(b[k + kPair - 1]));
    const typename D::Registers registers;
    constexpr int64_t kStep = sizeof c[0];
    D::template LoadTile<1>(c, kStep);
    D::template ZeroTile<2>();
    D::template LoadTile<6>(a_tile, sizeof a_tile[0]);
    D::template LoadTile<7>(b_tile, sizeof b_tile[0]);
    D::template MulAddTiles<1, 6, 7>();
    D::template MulAddTiles<2, 6, 7>();
    float without[kRows][kLanes];
    D::template StoreTile<1>(c, kStep);
    D::template StoreTile<2>(without, sizeof without[0]);
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kLanes; ++i) {
        float want = 0;
        for (int k = 0; k < kDepth; ++k) want += a[r][k] * b[k][i];
        for (const char* name : {"LoadTile", "StoreTile", "MulAddTiles"})
          report_.Same(name, c[r][i], want + r - 5);
        report_.Same("ZeroTile", without[r][i], want);
      }
      report_.Same("StoreTile", c[r][kLanes], static_cast<float>(r - 5));
    }
  }

  Report& report_;
  float value_[kPair][2 * kRow];
  S row_[kPair][2 * kRow];
};

}  // namespace simd_test
