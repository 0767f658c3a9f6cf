// SPDX-License-Identifier: Apache-2.0
// LoadData 2D and LoadDataWithTranspose: fractals from L1 (or GM) to L0A and L0B.
#pragma once

#include "twin/cube_params.h"
#include "twin/tensor.h"

namespace twin {

constexpr uint32_t kFractal = 512;
constexpr unsigned kL0Inputs = MemBit(Mem::kL0a) | MemBit(Mem::kL0b);

inline Path L0Path(const LocalRef& dst) {
  return dst.mem == Mem::kL0a ? Path::kL1ToL0a : Path::kL1ToL0b;
}

inline void CheckLoad2D(Instr& in, const AscendC::LoadData2DParams& p, uint32_t size) {
  InRange(in, "startIndex", p.startIndex, 0, 65535);
  Fits(in, "repeatTimes", p.repeatTimes);
  InRange(in, "srcStride", p.srcStride, 0, 65535);
  InRange(in, "dstGap", p.dstGap, 0, 65535);
  in.Require(!p.ifTranspose || size == 2, Rule::kType, "ifTranspose takes 16-bit types only");
  in.Require(p.addrMode == 0, Rule::kUnsupported, "addrMode 1 (decreasing) is not modelled");
}

// f(source fractal, destination fractal) for each repeat.
template <class F>
void ForFractals(const AscendC::LoadData2DParams& p, F f) {
  for (int64_t r = 0; r < p.repeatTimes.wide; ++r) {
    f(static_cast<uint64_t>(p.startIndex.wide + r * p.srcStride.wide),
      static_cast<uint64_t>(r * (1 + p.dstGap.wide)));
  }
}

template <class Src>
void LoadFractals(Instr& in, const LocalRef& dst, const Src& src, const AscendC::LoadData2DParams& p,
                  Path path) {
  if (!in.ok()) return;
  ForFractals(p, [&](uint64_t s, uint64_t) { in.Touch(Access::kLoad, src, "src", s * kFractal, kFractal); });
  ForFractals(p, [&](uint64_t, uint64_t d) { in.Touch(Access::kStore, dst, "dst", d * kFractal, kFractal); });
  Cost cost{path, static_cast<uint64_t>(p.repeatTimes.wide) * kFractal};
  cost.bursts = 1;
  if (!in.Issue(cost)) return;
  ForFractals(p, [&](uint64_t s, uint64_t d) {
    if constexpr (std::is_same<Src, LocalRef>::value) {
      if (p.ifTranspose) {
        in.MoveTransposed(dst, d * kFractal, 32, src, s * kFractal, 32, 16, 2);
        return;
      }
    }
    in.Move(dst, d * kFractal, src, s * kFractal, kFractal);
  });
}

// A square that LoadDataWithTranspose turns: n x n elements, split over `fractals` fractals of 512 bytes.
template <class T>
struct Square {
  static constexpr uint32_t n = sizeof(T) == 1 ? 32 : 16;
  static constexpr uint32_t fractals = sizeof(T) == 2 ? 1 : 2;
  static constexpr uint32_t bytes = fractals * kFractal;
};

// Byte offset of element (i, j) inside a square: b32 pairs split the columns, b8 pairs split the rows.
template <class T>
uint32_t InSquare(uint32_t i, uint32_t j, uint32_t second) {
  if (sizeof(T) == 4) return (j >= 8 ? second : 0) + i * 32 + j % 8 * 4;
  if (sizeof(T) == 1) return (i >= 16 ? second : 0) + i % 16 * 32 + j;
  return i * 32 + j * 2;
}

template <class T>
void TransposeSquare(Instr& in, const LocalRef& dst, uint64_t to, uint32_t second, const LocalRef& src,
                     uint64_t from) {
  if constexpr (sizeof(T) == 2) {
    in.MoveTransposed(dst, to, 32, src, from, 32, 16, 2);
  } else {
    for (uint32_t i = 0; i < Square<T>::n; ++i) {
      for (uint32_t j = 0; j < Square<T>::n; ++j) {
        in.Move(dst, to + InSquare<T>(i, j, second), src, from + InSquare<T>(j, i, kFractal), sizeof(T));
      }
    }
  }
}

}  // namespace twin

namespace AscendC {

template <class T>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData2DParams& loadDataParams,
              TWIN_SITE) {
  using namespace twin;
  Instr in("LoadData", Pipe::kMte1, site);
  in.In(dst.ref(), "dst", kL0Inputs, kFractal);
  in.In(src.ref(), "src", MemBit(Mem::kL1), 32);
  CheckLoad2D(in, loadDataParams, sizeof(T));
  LoadFractals(in, dst.ref(), src.ref(), loadDataParams, L0Path(dst.ref()));
}
template <class T>
void LoadData(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const LoadData2DParams& loadDataParams,
              TWIN_SITE) {
  using namespace twin;
  Instr in("LoadData", Pipe::kMte2, site);
  in.In(dst.ref(), "dst", kL0Inputs | MemBit(Mem::kL1), dst.ref().mem == Mem::kL1 ? 32 : kFractal);
  in.Require(!loadDataParams.ifTranspose, Rule::kUnsupported, "ifTranspose needs a source in L1");
  CheckLoad2D(in, loadDataParams, sizeof(T));
  LoadFractals(in, dst.ref(), src.ref(), loadDataParams,
               dst.ref().mem == Mem::kL1 ? Path::kGmToL1 : Path::kGmToL0);
}

template <class T>
void LoadDataWithTranspose(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LoadData2dTransposeParams& loadDataParams, TWIN_SITE) {
  using namespace twin;
  const LoadData2dTransposeParams& p = loadDataParams;
  Instr in("LoadDataWithTranspose", Pipe::kMte1, site);
  in.In(dst.ref(), "dst", kL0Inputs, kFractal);
  in.In(src.ref(), "src", MemBit(Mem::kL1), 32);
  InRange(in, "startIndex", p.startIndex, 0, 65535);
  Fits(in, "repeatTimes", p.repeatTimes);
  InRange(in, "srcStride", p.srcStride, 0, 65535);
  InRange(in, "dstGap", p.dstGap, 0, 65535);
  InRange(in, "dstFracGap", p.dstFracGap, 0, 65535);
  in.Require(p.addrMode == 0, Rule::kUnsupported, "addrMode 1 (decreasing) is not modelled");
  if (!in.ok()) return;
  constexpr uint32_t square = Square<T>::bytes, fractals = Square<T>::fractals;
  const uint32_t second = static_cast<uint32_t>(1 + p.dstFracGap.wide) * kFractal;
  auto from = [&](int64_t r) {
    return static_cast<uint64_t>(p.startIndex.wide + r * p.srcStride.wide) * square;
  };
  auto to = [&](int64_t r) { return static_cast<uint64_t>(r * (1 + p.dstGap.wide)) * kFractal; };
  for (int64_t r = 0; r < p.repeatTimes.wide; ++r) {
    in.Touch(Access::kLoad, src.ref(), "src", from(r), square);
    for (uint32_t f = 0; f < fractals; ++f)
      in.Touch(Access::kStore, dst.ref(), "dst", to(r) + f * second, kFractal);
  }
  if (!in.Issue({L0Path(dst.ref()), static_cast<uint64_t>(p.repeatTimes.wide) * square})) return;
  for (int64_t r = 0; r < p.repeatTimes.wide; ++r)
    TransposeSquare<T>(in, dst.ref(), to(r), second, src.ref(), from(r));
}

}  // namespace AscendC
