// SPDX-License-Identifier: Apache-2.0
// LoadData with LoadData3DParamsV2, as matrix load: a 1 x 1 filter over an image of l1H * l1W rows, which lie
// in L1 in zN with channelSize columns.
#pragma once

#include "twin/loaddata.h"

namespace AscendC {

struct IsResetLoad3dConfig {
  bool isSetFMatrix = true;
  bool isSetPadding = true;
};
constexpr IsResetLoad3dConfig IS_RESER_LOAD3D_DEFAULT_CONFIG = {true, true};

template <class T>
struct LoadData3DParamsV2 {
  LoadData3DParamsV2() = default;
  LoadData3DParamsV2(const uint8_t padListIn[4], twin::Field<uint16_t> l1HIn, twin::Field<uint16_t> l1WIn,
                     twin::Field<uint16_t> channelSizeIn, twin::Field<uint16_t> kExtensionIn,
                     twin::Field<uint16_t> mExtensionIn, twin::Field<uint16_t> kStartPtIn,
                     twin::Field<uint16_t> mStartPtIn, uint8_t strideWIn, uint8_t strideHIn,
                     uint8_t filterWIn, uint8_t filterHIn, uint8_t dilationFilterWIn,
                     uint8_t dilationFilterHIn, bool enTransposeIn, bool enSmallKIn, T padValueIn,
                     bool filterSizeWIn = false, bool filterSizeHIn = false, bool fMatrixCtrlIn = false)
      : padList{padListIn[0], padListIn[1], padListIn[2], padListIn[3]},
        l1H(l1HIn),
        l1W(l1WIn),
        channelSize(channelSizeIn),
        kExtension(kExtensionIn),
        mExtension(mExtensionIn),
        kStartPt(kStartPtIn),
        mStartPt(mStartPtIn),
        strideW(strideWIn),
        strideH(strideHIn),
        filterW(filterWIn),
        filterH(filterHIn),
        dilationFilterW(dilationFilterWIn),
        dilationFilterH(dilationFilterHIn),
        enTranspose(enTransposeIn),
        enSmallK(enSmallKIn),
        padValue(padValueIn),
        filterSizeW(filterSizeWIn),
        filterSizeH(filterSizeHIn),
        fMatrixCtrl(fMatrixCtrlIn) {}
  uint8_t padList[4] = {0, 0, 0, 0};
  twin::Field<uint16_t> l1H = 0;
  twin::Field<uint16_t> l1W = 0;
  twin::Field<uint16_t> channelSize = 0;
  twin::Field<uint16_t> kExtension = 0;
  twin::Field<uint16_t> mExtension = 0;
  twin::Field<uint16_t> kStartPt = 0;
  twin::Field<uint16_t> mStartPt = 0;
  uint8_t strideW = 1;
  uint8_t strideH = 1;
  uint8_t filterW = 1;
  uint8_t filterH = 1;
  uint8_t dilationFilterW = 1;
  uint8_t dilationFilterH = 1;
  bool enTranspose = false;
  bool enSmallK = false;
  T padValue = 0;
  bool filterSizeW = false;
  bool filterSizeH = false;
  bool fMatrixCtrl = false;
};

}  // namespace AscendC

namespace twin {

template <class T>
bool IsMatrixLoad(const AscendC::LoadData3DParamsV2<T>& p) {
  const bool padded = p.padList[0] || p.padList[1] || p.padList[2] || p.padList[3];
  return !padded && p.strideW == 1 && p.strideH == 1 && p.filterW == 1 && p.filterH == 1 &&
         p.dilationFilterW == 1 && p.dilationFilterH == 1 && !p.filterSizeW && !p.filterSizeH;
}

// Which elements a call moves and where: (i, k) is row i and channel k of the selected block.
template <class T>
struct Load3D {
  static constexpr int64_t c0 = 32 / sizeof(T);
  const AscendC::LoadData3DParamsV2<T>& p;
  bool to_b, turned;

  Load3D(const AscendC::LoadData3DParamsV2<T>& params, Mem dst)
      : p(params), to_b(dst == Mem::kL0b), turned(to_b || params.enTranspose) {}

  int64_t Rows() const { return p.mExtension.wide; }
  int64_t Channels() const { return p.kExtension.wide; }
  int64_t RowTiles() const { return (Rows() + 15) / 16; }
  int64_t ChannelTiles() const { return (Channels() + 15) / 16; }
  // 16 x C0 fractals of the destination.
  int64_t Fractals() const {
    return turned ? ChannelTiles() * (RowTiles() * 16 / c0) : RowTiles() * (Channels() / c0);
  }
  uint64_t From(int64_t i, int64_t k) const {
    const int64_t slab = (p.kStartPt.wide + k) / c0 * p.l1H.wide * p.l1W.wide;
    return static_cast<uint64_t>((slab + p.mStartPt.wide + i) * 32 + k % c0 * int64_t{sizeof(T)});
  }
  // zZ in L0A; turned, the rows become the columns: zZ of the transpose in L0A, nZ in L0B.
  uint64_t To(int64_t i, int64_t k) const {
    if (!turned) return Fractal(i / 16 * (Channels() / c0) + k / c0, i % 16, k % c0);
    const int64_t fractal =
        to_b ? i / c0 * ChannelTiles() + k / 16 : k / 16 * (RowTiles() * 16 / c0) + i / c0;
    return Fractal(fractal, k % 16, i % c0);
  }

 private:
  static uint64_t Fractal(int64_t fractal, int64_t row, int64_t column) {
    return static_cast<uint64_t>(fractal * kFractal + row * 32 + column * int64_t{sizeof(T)});
  }
};

template <class T>
void CheckLoad3D(Instr& in, const Load3D<T>& l) {
  const AscendC::LoadData3DParamsV2<T>& p = l.p;
  InRange(in, "l1H", p.l1H, 0, 32767);
  InRange(in, "l1W", p.l1W, 0, 32767);
  InRange(in, "channelSize", p.channelSize, 0, 65535);
  InRange(in, "kExtension", p.kExtension, 0, 65535);
  InRange(in, "mExtension", p.mExtension, 0, 65535);
  InRange(in, "kStartPt", p.kStartPt, 0, 65535);
  InRange(in, "mStartPt", p.mStartPt, 0, 32767);
  const auto wide = [](int64_t v) { return static_cast<long long>(v); };
  const int64_t end = p.mStartPt.wide + p.mExtension.wide, rows = p.l1H.wide * p.l1W.wide;
  in.Require(p.kStartPt.wide % l.c0 == 0, Rule::kAlignment, "kStartPt must be a multiple of %lld, got %lld",
             wide(l.c0), wide(p.kStartPt.wide));
  in.Require(p.kStartPt.wide + p.kExtension.wide <= p.channelSize.wide, Rule::kRange,
             "kStartPt + kExtension must be at most channelSize %lld, got %lld", wide(p.channelSize.wide),
             wide(p.kStartPt.wide + p.kExtension.wide));
  in.Require(end <= rows, Rule::kRange, "mStartPt + mExtension must be at most l1H * l1W = %lld, got %lld",
             wide(rows), wide(end));
  in.Require(sizeof(T) == 4 || p.mExtension.wide % 16 == 0 || end == rows, Rule::kRange,
             "mExtension must be a multiple of 16 or reach the last row, got %lld", wide(p.mExtension.wide));
  in.Require(!l.turned || sizeof(T) > 1, Rule::kType, "transposing takes 16- and 32-bit types");
  in.Require(IsMatrixLoad(p), Rule::kUnsupported,
             "only the matrix load is modelled: filter, stride and dilation 1, no padding");
  in.Require(!p.fMatrixCtrl && !p.enSmallK, Rule::kUnsupported, "fMatrixCtrl and enSmallK must be false");
  in.Require(p.channelSize.wide % l.c0 == 0 && p.kExtension.wide % l.c0 == 0, Rule::kUnsupported,
             "channelSize and kExtension are modelled in multiples of %lld, got %lld and %lld", wide(l.c0),
             wide(p.channelSize.wide), wide(p.kExtension.wide));
}

// One 16-row tile of one C0 slab.
template <class T>
void MoveTile(Instr& in, const Load3D<T>& l, const LocalRef& dst, const LocalRef& src, int64_t row,
              int64_t channel) {
  const int64_t rows = std::min<int64_t>(16, l.Rows() - row);
  if (!l.turned) {
    in.Move(dst, l.To(row, channel), src, l.From(row, channel), static_cast<uint32_t>(rows * 32));
  } else if (rows == 16 && sizeof(T) == 2) {
    in.MoveTransposed(dst, l.To(row, channel), 32, src, l.From(row, channel), 32, 16, 2);
  } else {
    for (int64_t i = row; i < row + rows; ++i) {
      for (int64_t k = channel; k < channel + l.c0; ++k)
        in.Move(dst, l.To(i, k), src, l.From(i, k), sizeof(T));
    }
  }
}

}  // namespace twin

namespace AscendC {

template <class T, const IsResetLoad3dConfig& defaultConfig = IS_RESER_LOAD3D_DEFAULT_CONFIG, class U = T,
          std::enable_if_t<std::is_same<T, U>::value, bool> = true>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src,
              const LoadData3DParamsV2<U>& loadDataParams, TWIN_SITE) {
  using namespace twin;
  const LoadData3DParamsV2<U>& p = loadDataParams;
  Instr in("LoadData(3DV2)", Pipe::kMte1, site);
  in.In(dst.ref(), "dst", kL0Inputs, kFractal);
  in.In(src.ref(), "src", MemBit(Mem::kL1), 32);
  const Load3D<U> load(p, dst.ref().mem);
  CheckLoad3D(in, load);
  if (!in.ok() || !p.l1H.wide || !p.l1W.wide || !p.channelSize.wide || !load.Channels() || !load.Rows())
    return;
  const uint64_t bytes = static_cast<uint64_t>(load.Fractals()) * kFractal;
  for (int64_t k = 0; k < load.Channels(); k += load.c0)
    in.Touch(Access::kLoad, src.ref(), "src", load.From(0, k), static_cast<uint64_t>(load.Rows()) * 32);
  in.Touch(Access::kStore, dst.ref(), "dst", 0, bytes);
  if (!in.Issue({load.to_b ? Path::kL1Load3dB : Path::kL1Load3dA, bytes})) return;
  // What a tile lacks of 16 rows or channels is not documented.
  in.MarkUnwritten(dst.ref(), 0, bytes);
  for (int64_t k = 0; k < load.Channels(); k += load.c0) {
    for (int64_t i = 0; i < load.Rows(); i += 16) MoveTile(in, load, dst.ref(), src.ref(), i, k);
  }
}

}  // namespace AscendC
