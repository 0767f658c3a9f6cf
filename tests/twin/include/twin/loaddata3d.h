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

template <class T>
void CheckLoad3D(Instr& in, const AscendC::LoadData3DParamsV2<T>& p, bool transposes) {
  constexpr int64_t c0 = 32 / sizeof(T);
  InRange(in, "l1H", p.l1H, 0, 32767);
  InRange(in, "l1W", p.l1W, 0, 32767);
  InRange(in, "channelSize", p.channelSize, 0, 65535);
  InRange(in, "kExtension", p.kExtension, 0, 65535);
  InRange(in, "mExtension", p.mExtension, 0, 65535);
  InRange(in, "kStartPt", p.kStartPt, 0, 65535);
  InRange(in, "mStartPt", p.mStartPt, 0, 32767);
  in.Require(p.kStartPt.wide % c0 == 0, Rule::kAlignment, "kStartPt must be a multiple of %lld, got %lld",
             static_cast<long long>(c0), static_cast<long long>(p.kStartPt.wide));
  const int64_t odd = p.channelSize.wide % c0;
  in.Require(odd == 0 || odd == 4 || odd == 8, Rule::kRange,
             "channelSize modulo %lld must be 0, 4 or 8, got %lld", static_cast<long long>(c0),
             static_cast<long long>(p.channelSize.wide));
  in.Require(p.kStartPt.wide + p.kExtension.wide <= (p.channelSize.wide + c0 - 1) / c0 * c0, Rule::kRange,
             "kStartPt + kExtension must be at most channelSize");
  in.Require(IsMatrixLoad(p), Rule::kUnsupported,
             "only the matrix load is modelled: filter, stride and dilation 1, no padding");
  in.Require(!p.fMatrixCtrl && !p.enSmallK, Rule::kUnsupported, "fMatrixCtrl and enSmallK must be false");
  in.Require(!transposes || sizeof(T) == 2, Rule::kUnsupported, "transposing is modelled for 16-bit types");
}

// f(source byte, source fractal row pitch in bytes, destination byte, rows) for each 16-row block of one C0
// slab.
template <class T, class F>
void ForLoad3D(const AscendC::LoadData3DParamsV2<T>& p, bool whole, F f) {
  constexpr int64_t c0 = 32 / sizeof(T);
  const int64_t rows = p.l1H.wide * p.l1W.wide;
  const int64_t mf = (p.mExtension.wide + 15) / 16, kf = (p.kExtension.wide + c0 - 1) / c0;
  for (int64_t mb = 0; mb < mf; ++mb) {
    for (int64_t kb = 0; kb < kf; ++kb) {
      const int64_t row = p.mStartPt.wide + mb * 16;
      const int64_t from = ((p.kStartPt.wide / c0 + kb) * rows + row) * 32;
      const int64_t to = (whole ? kb * mf + mb : mb * kf + kb) * kFractal;
      f(static_cast<uint64_t>(from), static_cast<uint64_t>(to),
        static_cast<uint32_t>(std::max<int64_t>(0, std::min<int64_t>(16, rows - row))));
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
  // Towards L0B every fractal is turned; enTranspose turns the whole matrix on its way to L0A.
  const bool to_b = dst.ref().mem == Mem::kL0b, whole = !to_b && p.enTranspose;
  CheckLoad3D(in, p, to_b || whole);
  if (!in.ok() || !p.l1H.wide || !p.l1W.wide || !p.channelSize.wide || !p.kExtension.wide ||
      !p.mExtension.wide) {
    return;
  }
  uint64_t bytes = 0;
  ForLoad3D(p, whole, [&](uint64_t from, uint64_t to, uint32_t rows) {
    in.Touch(Access::kLoad, src.ref(), "src", from, uint64_t{rows} * 32);
    in.Touch(Access::kStore, dst.ref(), "dst", to, kFractal);
    bytes += kFractal;
  });
  Cost cost{Path::kL1Load3d, bytes};
  if (!in.Issue(cost)) return;
  ForLoad3D(p, whole, [&](uint64_t from, uint64_t to, uint32_t rows) {
    if (rows < 16) {
      std::memset(in.Data(dst.ref(), to), 0, kFractal);
      in.MarkWritten(dst.ref(), to, kFractal);
    }
    if (!to_b && !whole) {
      in.Move(dst.ref(), to, src.ref(), from, rows * 32);
    } else if (rows == 16) {
      in.MoveTransposed(dst.ref(), to, 32, src.ref(), from, 32, 16, 2);
    } else {
      for (uint32_t i = 0; i < rows; ++i) {
        for (uint32_t j = 0; j < 16; ++j)
          in.Move(dst.ref(), to + j * 32 + i * 2, src.ref(), from + i * 32 + j * 2, 2);
      }
    }
  });
}

}  // namespace AscendC
