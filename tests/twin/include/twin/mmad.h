// SPDX-License-Identifier: Apache-2.0
// Mmad: L0C (+)= L0A * L0B on fractal layouts.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "twin/cube_params.h"
#include "twin/lanes.h"
#include "twin/loaddata.h"

namespace twin {

TWIN_API void UnitFlagMmad(Instr& in, const LocalRef& dst, uint32_t bytes, int unit_flag);
TWIN_API void UnitFlagFixpipe(Instr& in, const LocalRef& src, const uint32_t* units, uint32_t count,
                              int unit_flag);

TWIN_API void ClearUnitFlags(Instr& in);

constexpr uint32_t CeilDiv(uint64_t a, uint64_t b) {
  return static_cast<uint32_t>((a + b - 1) / b);
}

// The operand tile of one Mmad: rows (m or n) x k, in 16-row fractals of C0 columns.
template <class T>
struct FractalTile {
  static constexpr uint32_t c0 = 32 / sizeof(T);
  uint32_t rows, k;
  uint32_t row_stride, k_stride;  // fractals between row blocks, between k blocks

  template <class F>
  void ForBlocks(F f) const {
    for (uint32_t rb = 0; rb < CeilDiv(rows, 16); ++rb) {
      for (uint32_t kb = 0; kb < CeilDiv(k, c0); ++kb) {
        f(rb, kb, std::min(16u, rows - rb * 16), std::min(c0, k - kb * c0),
          (uint64_t{rb} * row_stride + uint64_t{kb} * k_stride) * kFractal);
      }
    }
  }

  // All that the product takes up must be written, rows included whose results nobody reads.
  void Touch(Instr& in, const LocalRef& tensor, const char* operand) const {
    ForBlocks([&](uint32_t, uint32_t, uint32_t r, uint32_t c, uint64_t at) {
      if (c == c0) {
        in.Touch(Access::kRead, tensor, operand, at, uint64_t{r} * 32);
        return;
      }
      for (uint32_t i = 0; i < r; ++i) in.Touch(Access::kRead, tensor, operand, at + i * 32, c * sizeof(T));
    });
  }

  // put(row, k, value) for every real element.
  template <class F>
  void Read(const uint8_t* data, F put) const {
    ForBlocks([&](uint32_t rb, uint32_t kb, uint32_t r, uint32_t c, uint64_t at) {
      for (uint32_t i = 0; i < r; ++i) {
        for (uint32_t j = 0; j < c; ++j) {
          T v;
          std::memcpy(&v, data + at + i * 32 + j * sizeof(T), sizeof(T));
          put(rb * 16 + i, kb * c0 + j, v);
        }
      }
    });
  }
};

// m == 1 is GEMV: the one row of A lies packed, 512 bytes of it a fractal.
template <class T>
void TouchA(Instr& in, const LocalRef& fm, const FractalTile<T>& a, bool gemv) {
  if (gemv) {
    in.Touch(Access::kRead, fm, "fm", 0, uint64_t{a.k} * sizeof(T));  // GEMV
  } else {
    a.Touch(in, fm, "fm");
  }
}

template <class T, class F>
void ReadA(const uint8_t* data, const FractalTile<T>& a, bool gemv, F put) {
  if (!gemv) {
    a.Read(data, put);
    return;
  }
  for (uint32_t k = 0; k < a.k; ++k) {
    T v;
    std::memcpy(&v, data + k * sizeof(T), sizeof(T));
    put(0u, k, v);
  }
}

inline uint64_t CIndex(uint32_t i, uint32_t j, uint32_t mp) {
  return uint64_t{j / 16} * mp * 16 + i * 16 + j % 16;
}

template <class C, class A>
std::vector<C> Product(const uint8_t* fm, const uint8_t* filter, const FractalTile<A>& a,
                       const FractalTile<A>& b, bool gemv, std::vector<C> c) {
  const uint32_t m = a.rows, n = b.rows, k = a.k;
  if constexpr (std::is_same<C, float>::value) {
    std::vector<float> left(size_t{m} * k), right(size_t{k} * n);
    ReadA(fm, a, gemv, [&](uint32_t i, uint32_t l, A v) { left[size_t{i} * k + l] = static_cast<float>(v); });
    b.Read(filter, [&](uint32_t j, uint32_t l, A v) { right[size_t{l} * n + j] = static_cast<float>(v); });
    MultiplyAccumulate(left.data(), right.data(), c.data(), static_cast<int>(m), static_cast<int>(n),
                       static_cast<int>(k));
  } else {
    std::vector<C> left(size_t{m} * k), right(size_t{k} * n);
    ReadA(fm, a, gemv, [&](uint32_t i, uint32_t l, A v) { left[size_t{i} * k + l] = static_cast<C>(v); });
    b.Read(filter, [&](uint32_t j, uint32_t l, A v) { right[size_t{l} * n + j] = static_cast<C>(v); });
    for (uint32_t i = 0; i < m; ++i) {
      for (uint32_t l = 0; l < k; ++l) {
        for (uint32_t j = 0; j < n; ++j)
          c[size_t{i} * n + j] += left[size_t{i} * k + l] * right[size_t{l} * n + j];
      }
    }
  }
  return c;
}

template <class T, class U, class S>
constexpr bool kMmadTypes =
    (std::is_same<T, float>::value && std::is_same<U, S>::value &&
     (std::is_same<U, half>::value || std::is_same<U, bfloat16_t>::value || std::is_same<U, float>::value)) ||
    (std::is_same<T, int32_t>::value && std::is_same<U, int8_t>::value && std::is_same<S, int8_t>::value);

template <class T, class U, class S>
bool CheckMmad(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<U>& fm,
               const AscendC::LocalTensor<S>& filter, const AscendC::MmadParams& p) {
  in.In(dst.ref(), "dst", MemBit(Mem::kL0c), 1024);
  in.In(fm.ref(), "fm", MemBit(Mem::kL0a), kFractal);
  in.In(filter.ref(), "filter", MemBit(Mem::kL0b), kFractal);
  InRange(in, "m", p.m, 0, 4095);
  InRange(in, "n", p.n, 0, 4095);
  InRange(in, "k", p.k, 0, 4095);
  in.Require(p.unitFlag == 0 || p.unitFlag == 2 || p.unitFlag == 3, Rule::kUnitFlag,
             "unitFlag must be 0, 2 or 3, got %d", p.unitFlag);
  return in.ok();
}

template <class T>
void TouchC(Instr& in, const LocalRef& dst, uint32_t m, uint32_t n, bool accumulate) {
  const uint32_t mp = CeilDiv(m, 16) * 16;
  if (accumulate) {
    for (uint32_t j = 0; j < n; j += 16) {
      const uint32_t columns = std::min(16u, n - j);
      for (uint32_t i = 0; i < m; ++i) {
        in.Touch(Access::kRead, dst, "dst", CIndex(i, j, mp) * sizeof(T), columns * sizeof(T));
      }
    }
  }
  in.Touch(Access::kWrite, dst, "dst", 0, uint64_t{mp} * CeilDiv(n, 16) * 16 * sizeof(T));
}

// Padding rows and columns of the tile hold garbage after the instruction.
template <class T>
void StoreC(Instr& in, const LocalRef& dst, const std::vector<T>& c, uint32_t m, uint32_t n) {
  const uint32_t mp = CeilDiv(m, 16) * 16, np = CeilDiv(n, 16) * 16;
  const bool whole = mp == m && np == n;
  if (!whole) {
    std::memset(in.Data(dst), 0xff, uint64_t{mp} * np * sizeof(T));
    in.MarkUnwritten(dst, 0, uint64_t{mp} * np * sizeof(T));
  }
  uint8_t* out = in.Data(dst);
  for (uint32_t i = 0; i < m; ++i) {
    for (uint32_t j = 0; j < n; j += 16) {
      const uint32_t bytes = std::min(16u, n - j) * sizeof(T);
      std::memcpy(out + CIndex(i, j, mp) * sizeof(T), &c[size_t{i} * n + j], bytes);
      if (!whole) in.MarkWritten(dst, CIndex(i, j, mp) * sizeof(T), bytes);
    }
  }
}

template <class T>
std::vector<T> LoadC(Instr& in, const LocalRef& from, uint32_t m, uint32_t n) {
  const uint32_t mp = CeilDiv(m, 16) * 16;
  std::vector<T> c(size_t{m} * n);
  const bool bias = from.mem == Mem::kBt;
  for (uint32_t i = 0; i < m; ++i) {
    for (uint32_t j = 0; j < n; ++j) {
      std::memcpy(&c[size_t{i} * n + j], in.Data(from, (bias ? j : CIndex(i, j, mp)) * sizeof(T)), sizeof(T));
    }
  }
  return c;
}

// start: where C comes from; nullptr: zero.
template <class T, class U, class S>
void RunMmad(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<U>& fm,
             const AscendC::LocalTensor<S>& filter, const AscendC::MmadParams& p, const LocalRef* start) {
  in.Require(kMmadTypes<T, U, S>, Rule::kType, "does not take %s * %s -> %s", TypeName<U>::value,
             TypeName<S>::value, TypeName<T>::value);
  if (!CheckMmad(in, dst, fm, filter, p) || p.m.wide == 0 || p.n.wide == 0 || p.k.wide == 0) return;
  const uint32_t m = static_cast<uint32_t>(p.m.wide), n = static_cast<uint32_t>(p.n.wide),
                 k = static_cast<uint32_t>(p.k.wide);
  const bool gemv = m == 1 && !p.disableGemv;
  constexpr uint32_t c0 = FractalTile<U>::c0;
  const uint32_t kf = p.kDirectionAlign && sizeof(U) == 4 ? CeilDiv(k, 16) * 2 : CeilDiv(k, c0);
  const FractalTile<U> a{m, k, kf, 1};
  const FractalTile<U> b{n, k, 1, CeilDiv(n, 16)};
  TouchA(in, fm.ref(), a, gemv);
  b.Touch(in, filter.ref(), "filter");
  const bool accumulate = start && start->mem == Mem::kL0c;
  if (start && !accumulate) in.Touch(Access::kRead, *start, "bias", 0, uint64_t{n} * sizeof(T));
  TouchC<T>(in, dst.ref(), m, n, accumulate);
  const uint32_t tiles = CeilDiv(m, 16) * CeilDiv(n, 16);
  if (p.unitFlag) in.UnitFlagOrdered();
  // The documented bound counts whole fractals only: both sides divide down.
  if (accumulate && (m / 16) * (n / 16) >= 10) in.AccumulateOrdered();
  UnitFlagMmad(in, dst.ref(), tiles * 256 * sizeof(T), p.unitFlag);
  Cost cost{Path::kCube};
  cost.work = uint64_t{tiles} * CeilDiv(k, sizeof(U) == 4 ? 4 : c0);
  if (!in.Issue(cost)) return;
  if constexpr (kMmadTypes<T, U, S>) {
    std::vector<T> c = start ? LoadC<T>(in, *start, m, n) : std::vector<T>(size_t{m} * n);
    StoreC(in, dst.ref(), Product(in.Data(fm.ref()), in.Data(filter.ref()), a, b, gemv, std::move(c)), m, n);
  }
}

}  // namespace twin

namespace AscendC {

template <class T, class U, class S>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const MmadParams& mmadParams, TWIN_SITE) {
  twin::Instr in("Mmad", twin::Pipe::kM, site);
  in.Require(mmadParams.cmatrixInitVal || !mmadParams.cmatrixSource, twin::Rule::kUnsupported,
             "cmatrixSource from the BiasTable needs the overload with a bias tensor");
  twin::RunMmad(in, dst, fm, filter, mmadParams, mmadParams.cmatrixInitVal ? nullptr : &dst.ref());
}
template <class T, class U, class S, class V>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const LocalTensor<V>& bias, const MmadParams& mmadParams, TWIN_SITE) {
  twin::Instr in("Mmad", twin::Pipe::kM, site);
  in.In(bias.ref(), "bias", twin::MemBit(twin::Mem::kBt) | twin::MemBit(twin::Mem::kL0c), 64);
  in.Require(std::is_same<T, V>::value, twin::Rule::kType, "bias must be %s like dst, got %s",
             twin::TypeName<T>::value, twin::TypeName<V>::value);
  in.Require(!mmadParams.cmatrixInitVal, twin::Rule::kRange,
             "bias is ignored unless cmatrixInitVal is false");
  twin::RunMmad(in, dst, fm, filter, mmadParams, &bias.ref());
}

}  // namespace AscendC
