// SPDX-License-Identifier: Apache-2.0
// Parameter structs of the cube API.
#pragma once

#include "twin/enums.h"
#include "twin/field.h"

namespace AscendC {

struct LoadData2DParams {
  LoadData2DParams() = default;
  LoadData2DParams(twin::Field<uint16_t> startIndexIn, twin::Field<uint8_t> repeatTimesIn,
                   twin::Field<uint16_t> srcStrideIn, uint8_t sidIn, twin::Field<uint16_t> dstGapIn,
                   bool ifTransposeIn, uint8_t addrModeIn)
      : startIndex(startIndexIn),
        dstGap(dstGapIn),
        srcStride(srcStrideIn),
        ifTranspose(ifTransposeIn),
        repeatTimes(repeatTimesIn),
        sid(sidIn),
        addrMode(addrModeIn) {}
  twin::Field<uint16_t> startIndex = 0;
  twin::Field<uint16_t> dstGap = 0;
  twin::Field<uint16_t> srcStride = 0;
  bool ifTranspose = false;
  twin::Field<uint8_t> repeatTimes = 0;
  uint8_t sid = 0;
  uint8_t addrMode = 0;
};
using LoadData2dParams = LoadData2DParams;

struct LoadData2dTransposeParams {
  LoadData2dTransposeParams() = default;
  LoadData2dTransposeParams(twin::Field<uint16_t> startIndexIn, twin::Field<uint8_t> repeatTimesIn,
                            twin::Field<uint16_t> srcStrideIn, twin::Field<uint16_t> dstGapIn,
                            twin::Field<uint16_t> dstfracGapIn, uint8_t addrModeIn = 0)
      : startIndex(startIndexIn),
        repeatTimes(repeatTimesIn),
        srcStride(srcStrideIn),
        dstGap(dstGapIn),
        dstFracGap(dstfracGapIn),
        addrMode(addrModeIn) {}
  twin::Field<uint16_t> startIndex = 0;
  twin::Field<uint8_t> repeatTimes = 0;
  twin::Field<uint16_t> srcStride = 0;
  twin::Field<uint16_t> dstGap = 0;
  twin::Field<uint16_t> dstFracGap = 0;
  uint8_t addrMode = 0;
};

struct MmadParams {
  MmadParams() = default;
  MmadParams(twin::Field<uint16_t> mIn, twin::Field<uint16_t> nIn, twin::Field<uint16_t> kIn, bool isBiasIn,
             int32_t fmOffsetIn, bool enSsparseIn, bool enWinogradAIn, bool enWinogradBIn)
      : m(mIn),
        n(nIn),
        k(kIn),
        isBias(isBiasIn),
        fmOffset(fmOffsetIn),
        enSsparse(enSsparseIn),
        enWinogradA(enWinogradAIn),
        enWinogradB(enWinogradBIn) {}
  MmadParams(twin::Field<uint16_t> mIn, twin::Field<uint16_t> nIn, twin::Field<uint16_t> kIn,
             uint8_t unitFlagIn, bool cmatrixSourceIn, bool cmatrixInitValIn)
      : m(mIn),
        n(nIn),
        k(kIn),
        unitFlag(unitFlagIn),
        cmatrixSource(cmatrixSourceIn),
        cmatrixInitVal(cmatrixInitValIn) {}
  twin::Field<uint16_t> m = 0;
  twin::Field<uint16_t> n = 0;
  twin::Field<uint16_t> k = 0;
  bool isBias = false;
  int32_t fmOffset = 0;
  bool enSsparse = false;
  bool enWinogradA = false;
  bool enWinogradB = false;
  uint8_t unitFlag = 0;
  bool kDirectionAlign = false;
  bool cmatrixSource = false;
  bool cmatrixInitVal = true;
  bool disableGemv = false;
  uint8_t fixShiftVal = 0;
};

enum class CO2Layout : uint8_t { NZ = 0, ROW_MAJOR, COLUMN_MAJOR };

struct FixpipeConfig {
  CO2Layout format;
  constexpr FixpipeConfig(CO2Layout f) : format(f) {}
};
constexpr FixpipeConfig CFG_NZ = {CO2Layout::NZ};
constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};

struct FixpipeParamsV220 {
  FixpipeParamsV220() = default;
  FixpipeParamsV220(twin::Field<uint16_t> nSizeIn, twin::Field<uint16_t> mSizeIn,
                    twin::Field<uint16_t> srcStrideIn, twin::Field<uint32_t> dstStrideIn, bool reluEnIn)
      : nSize(nSizeIn), mSize(mSizeIn), srcStride(srcStrideIn), dstStride(dstStrideIn), reluEn(reluEnIn) {}
  FixpipeParamsV220(twin::Field<uint16_t> nSizeIn, twin::Field<uint16_t> mSizeIn,
                    twin::Field<uint16_t> srcStrideIn, twin::Field<uint32_t> dstStrideIn, bool reluEnIn,
                    QuantMode_t quantPreIn, int64_t deqScalarIn, twin::Field<uint16_t> ndNumIn,
                    twin::Field<uint16_t> srcNdStrideIn, twin::Field<uint16_t> dstNdStrideIn,
                    uint8_t unitFlagIn, bool isChannelSplitIn = false)
      : nSize(nSizeIn),
        mSize(mSizeIn),
        srcStride(srcStrideIn),
        dstStride(dstStrideIn),
        quantPre(quantPreIn),
        deqScalar(static_cast<uint64_t>(deqScalarIn)),
        ndNum(ndNumIn),
        srcNdStride(srcNdStrideIn),
        dstNdStride(dstNdStrideIn),
        reluEn(reluEnIn),
        unitFlag(unitFlagIn),
        isChannelSplit(isChannelSplitIn) {}
  twin::Field<uint16_t> nSize = 0;
  twin::Field<uint16_t> mSize = 0;
  twin::Field<uint16_t> srcStride = 0;
  twin::Field<uint32_t> dstStride = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint64_t deqScalar = 0;
  twin::Field<uint16_t> ndNum = 1;
  twin::Field<uint16_t> srcNdStride = 0;
  twin::Field<uint16_t> dstNdStride = 0;
  bool reluEn = false;
  uint8_t unitFlag = 0;
  bool isChannelSplit = false;
};

template <class T>
struct InitConstValueParams {
  InitConstValueParams() = default;
  InitConstValueParams(twin::Field<uint16_t> repeatTimesIn, twin::Field<uint16_t> blockNumIn,
                       twin::Field<uint16_t> dstGapIn, T initValueIn)
      : repeatTimes(repeatTimesIn), blockNum(blockNumIn), dstGap(dstGapIn), initValue(initValueIn) {}
  InitConstValueParams(twin::Field<uint16_t> repeatTimesIn, T initValueIn)
      : repeatTimes(repeatTimesIn), initValue(initValueIn) {}
  twin::Field<uint16_t> repeatTimes = 0;
  twin::Field<uint16_t> blockNum = 0;
  twin::Field<uint16_t> dstGap = 0;
  T initValue = 0;
};

}  // namespace AscendC
