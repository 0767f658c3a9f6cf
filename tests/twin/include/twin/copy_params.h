// SPDX-License-Identifier: Apache-2.0
// Parameter structs of the DMA API.
#pragma once

#include "twin/field.h"

namespace AscendC {

struct DataCopyParams {
  DataCopyParams() = default;
  DataCopyParams(twin::Field<uint16_t> count, twin::Field<uint16_t> len, twin::Field<uint16_t> srcStrideIn,
                 twin::Field<uint16_t> dstStrideIn)
      : blockCount(count), blockLen(len), srcStride(srcStrideIn), dstStride(dstStrideIn) {}
  twin::Field<uint16_t> blockCount = 1;
  twin::Field<uint16_t> blockLen = 0;
  union {
    twin::Field<uint16_t> srcGap = 0;
    twin::Field<uint16_t> srcStride;
  };
  union {
    twin::Field<uint16_t> dstGap = 0;
    twin::Field<uint16_t> dstStride;
  };
};

struct DataCopyPadParams {
  DataCopyPadParams() = default;
  DataCopyPadParams(bool isPadValue, twin::Field<uint8_t> leftPadValue, twin::Field<uint8_t> rightPadValue,
                    uint64_t padValue)
      : isPad(isPadValue), leftPadding(leftPadValue), rightPadding(rightPadValue), paddingValue(padValue) {}
  bool isPad = false;
  twin::Field<uint8_t> leftPadding = 0;
  twin::Field<uint8_t> rightPadding = 0;
  uint64_t paddingValue = 0;
};

struct DataCopyExtParams {
  DataCopyExtParams() = default;
  DataCopyExtParams(twin::Field<uint16_t> count, twin::Field<uint32_t> len, twin::Field<uint32_t> srcStrideIn,
                    twin::Field<uint32_t> dstStrideIn, uint32_t rsvIn)
      : blockCount(count), blockLen(len), srcStride(srcStrideIn), dstStride(dstStrideIn), rsv(rsvIn) {}
  twin::Field<uint16_t> blockCount = 1;
  twin::Field<uint32_t> blockLen = 0;
  twin::Field<uint32_t> srcStride = 0;
  twin::Field<uint32_t> dstStride = 0;
  uint32_t rsv = 0;
};

template <class T>
struct DataCopyPadExtParams {
  DataCopyPadExtParams() = default;
  DataCopyPadExtParams(bool isPadValue, twin::Field<uint8_t> leftPadValue, twin::Field<uint8_t> rightPadValue,
                       T padValue)
      : isPad(isPadValue), leftPadding(leftPadValue), rightPadding(rightPadValue), paddingValue(padValue) {}
  bool isPad = false;
  twin::Field<uint8_t> leftPadding = 0;
  twin::Field<uint8_t> rightPadding = 0;
  T paddingValue = 0;
};

struct Nd2NzParams {
  Nd2NzParams() = default;
  Nd2NzParams(twin::Field<uint16_t> ndNumIn, twin::Field<uint16_t> nValueIn, twin::Field<uint16_t> dValueIn,
              twin::Field<uint16_t> srcNdMatrixStrideIn, twin::Field<uint16_t> srcDValueIn,
              twin::Field<uint16_t> dstNzC0StrideIn, twin::Field<uint16_t> dstNzNStrideIn,
              twin::Field<uint16_t> dstNzMatrixStrideIn)
      : ndNum(ndNumIn),
        nValue(nValueIn),
        dValue(dValueIn),
        srcNdMatrixStride(srcNdMatrixStrideIn),
        srcDValue(srcDValueIn),
        dstNzC0Stride(dstNzC0StrideIn),
        dstNzNStride(dstNzNStrideIn),
        dstNzMatrixStride(dstNzMatrixStrideIn) {}
  twin::Field<uint16_t> ndNum = 0;
  twin::Field<uint16_t> nValue = 0;
  twin::Field<uint16_t> dValue = 0;
  twin::Field<uint16_t> srcNdMatrixStride = 0;
  twin::Field<uint16_t> srcDValue = 0;
  twin::Field<uint16_t> dstNzC0Stride = 0;
  twin::Field<uint16_t> dstNzNStride = 0;
  twin::Field<uint16_t> dstNzMatrixStride = 0;
};

}  // namespace AscendC
