// SPDX-License-Identifier: Apache-2.0
// Repeat parameter structs of the vector API.
#pragma once

#include "twin/lanes.h"

namespace AscendC {

// Stands where a mask would, in calls with isSetMask = false.
constexpr uint64_t MASK_PLACEHOLDER = 0;

struct UnaryRepeatParams {
  UnaryRepeatParams() = default;
  UnaryRepeatParams(twin::Field<uint16_t> dstBlkStrideIn, twin::Field<uint16_t> srcBlkStrideIn,
                    twin::Field<uint8_t> dstRepStrideIn, twin::Field<uint8_t> srcRepStrideIn)
      : dstBlkStride(dstBlkStrideIn),
        srcBlkStride(srcBlkStrideIn),
        dstRepStride(dstRepStrideIn),
        srcRepStride(srcRepStrideIn) {}
  twin::Strides Dst() const { return {dstBlkStride, dstRepStride}; }
  twin::Strides Src() const { return {srcBlkStride, srcRepStride}; }

  uint32_t blockNumber = 8;
  twin::Field<uint16_t> dstBlkStride = 1;
  twin::Field<uint16_t> srcBlkStride = 1;
  twin::Field<uint8_t> dstRepStride = 8;
  twin::Field<uint8_t> srcRepStride = 8;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
  bool halfBlock = false;
};

struct BinaryRepeatParams {
  BinaryRepeatParams() = default;
  BinaryRepeatParams(twin::Field<uint8_t> dstBlkStrideIn, twin::Field<uint8_t> src0BlkStrideIn,
                     twin::Field<uint8_t> src1BlkStrideIn, twin::Field<uint8_t> dstRepStrideIn,
                     twin::Field<uint8_t> src0RepStrideIn, twin::Field<uint8_t> src1RepStrideIn)
      : dstBlkStride(dstBlkStrideIn),
        src0BlkStride(src0BlkStrideIn),
        src1BlkStride(src1BlkStrideIn),
        dstRepStride(dstRepStrideIn),
        src0RepStride(src0RepStrideIn),
        src1RepStride(src1RepStrideIn) {}
  twin::Strides Dst() const { return {Byte(dstBlkStride), dstRepStride}; }
  twin::Strides Src0() const { return {Byte(src0BlkStride), src0RepStride}; }
  twin::Strides Src1() const { return {Byte(src1BlkStride), src1RepStride}; }

  uint32_t blockNumber = 8;
  twin::Field<uint8_t> dstBlkStride = 1;
  twin::Field<uint8_t> src0BlkStride = 1;
  twin::Field<uint8_t> src1BlkStride = 1;
  twin::Field<uint8_t> dstRepStride = 8;
  twin::Field<uint8_t> src0RepStride = 8;
  twin::Field<uint8_t> src1RepStride = 8;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;

 private:
  // A block stride beyond its own uint8_t must not pass as a valid uint16_t one.
  static twin::Field<uint16_t> Byte(const twin::Field<uint8_t>& f) {
    return f.wide >= 0 && f.wide <= 0xff ? twin::Field<uint16_t>(f.wide) : twin::Field<uint16_t>(int64_t{-1});
  }
};

struct BrcbRepeatParams {
  BrcbRepeatParams() = default;
  BrcbRepeatParams(twin::Field<uint16_t> dstBlkStrideIn, twin::Field<uint16_t> dstRepStrideIn)
      : dstRepStride(dstRepStrideIn), dstBlkStride(dstBlkStrideIn) {}
  uint32_t blockNumber = 8;
  twin::Field<uint16_t> dstRepStride = 8;
  twin::Field<uint16_t> dstBlkStride = 1;
};

struct CopyRepeatParams {
  CopyRepeatParams() = default;
  CopyRepeatParams(twin::Field<uint16_t> dstStrideIn, twin::Field<uint16_t> srcStrideIn,
                   twin::Field<uint16_t> dstRepeatSizeIn, twin::Field<uint16_t> srcRepeatSizeIn)
      : dstStride(dstStrideIn),
        srcStride(srcStrideIn),
        dstRepeatSize(dstRepeatSizeIn),
        srcRepeatSize(srcRepeatSizeIn) {}
  twin::Field<uint16_t> dstStride = 1;
  twin::Field<uint16_t> srcStride = 1;
  twin::Field<uint16_t> dstRepeatSize = 8;
  twin::Field<uint16_t> srcRepeatSize = 8;
};

enum class GatherMaskMode : uint8_t { VERSION_V1 = 0, VERSION_V2 = 1 };
const GatherMaskMode defaultGatherMaskMode = GatherMaskMode::VERSION_V2;

struct GatherMaskParams {
  GatherMaskParams() = default;
  GatherMaskParams(twin::Field<uint8_t> src0BlockStrideIn, twin::Field<uint16_t> repeatTimesIn,
                   twin::Field<uint16_t> src0RepeatStrideIn, twin::Field<uint8_t> src1RepeatStrideIn)
      : src0BlockStride(src0BlockStrideIn),
        repeatTimes(repeatTimesIn),
        src0RepeatStride(src0RepeatStrideIn),
        src1RepeatStride(src1RepeatStrideIn) {}
  twin::Field<uint8_t> src0BlockStride = 1;
  twin::Field<uint16_t> repeatTimes = 0;
  twin::Field<uint16_t> src0RepeatStride = 8;
  twin::Field<uint8_t> src1RepeatStride = 8;
};

struct TransDataTo5HDParams {
  TransDataTo5HDParams() = default;
  TransDataTo5HDParams(bool dstHighHalfIn, bool srcHighHalfIn, twin::Field<uint8_t> repeatTimesIn,
                       twin::Field<uint16_t> dstRepStrideIn, twin::Field<uint16_t> srcRepStrideIn)
      : dstHighHalf(dstHighHalfIn),
        srcHighHalf(srcHighHalfIn),
        repeatTimes(repeatTimesIn),
        dstRepStride(dstRepStrideIn),
        srcRepStride(srcRepStrideIn) {}
  bool dstHighHalf = false;
  bool srcHighHalf = false;
  twin::Field<uint8_t> repeatTimes = 1;
  twin::Field<uint16_t> dstRepStride = 0;
  twin::Field<uint16_t> srcRepStride = 0;
};

}  // namespace AscendC
