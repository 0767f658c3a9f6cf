// SPDX-License-Identifier: Apache-2.0
// Enumerations of the Ascend C API, with the values that dav-2201 uses.
#pragma once

#include <cstdint>

#include "twin/abi.h"

typedef enum {
  PIPE_S = 0,
  PIPE_V,
  PIPE_M,
  PIPE_MTE1,
  PIPE_MTE2,
  PIPE_MTE3,
  PIPE_ALL,
  PIPE_MTE4 = 7,
  PIPE_MTE5 = 8,
  PIPE_V2 = 9,
  PIPE_FIX = 10
} pipe_t;

typedef enum {
  EVENT_ID0 = 0,
  EVENT_ID1,
  EVENT_ID2,
  EVENT_ID3,
  EVENT_ID4,
  EVENT_ID5,
  EVENT_ID6,
  EVENT_ID7
} event_t;

typedef enum {
  NoQuant = 0,
  F322F16 = 1,
  VREQ8 = 2,
  REQ8 = 3,
  VDEQF16 = 4,
  DEQF16 = 5,
  F322BF16 = 16,
  VQF322B8_PRE = 23,
  QF322B8_PRE = 24
} QuantMode_t;

using TEventID = int8_t;

namespace AscendC {

enum class TPosition : uint8_t {
  GM,
  A1,
  A2,
  B1,
  B2,
  C1,
  C2,
  CO1,
  CO2,
  VECIN,
  VECOUT,
  VECCALC,
  LCM = VECCALC,
  SPM,
  SHM = SPM,
  TSCM,
  C2PIPE2GM,
  C2PIPE2LOCAL,
  MAX
};
using QuePosition = TPosition;

enum class HardEvent : uint8_t {
  MTE2_MTE1,
  MTE1_MTE2,
  MTE1_M,
  M_MTE1,
  MTE2_V,
  V_MTE2,
  MTE3_V,
  V_MTE3,
  M_V,
  V_M,
  V_V,
  MTE3_MTE1,
  MTE1_MTE3,
  MTE1_V,
  MTE2_M,
  M_MTE2,
  V_MTE1,
  M_FIX,
  FIX_M,
  MTE3_MTE2,
  MTE2_MTE3,
  S_V,
  V_S,
  S_MTE2,
  MTE2_S,
  S_MTE3,
  MTE3_S,
  MTE2_FIX,
  FIX_MTE2,
  FIX_S,
  M_S,
  FIX_MTE3,
  MTE1_FIX,
  FIX_MTE1,
  FIX_FIX,
  MAX
};

enum class RoundMode : uint8_t {
  CAST_NONE = 0,
  CAST_RINT,
  CAST_FLOOR,
  CAST_CEIL,
  CAST_ROUND,
  CAST_TRUNC,
  CAST_ODD
};
enum class CMPMODE : uint8_t { LT = 0, GT, EQ, LE, GE, NE };
enum class SELMODE : uint8_t { VSEL_CMPMASK_SPR = 0, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class ReduceOrder : uint8_t {
  ORDER_VALUE_INDEX = 0,
  ORDER_INDEX_VALUE,
  ORDER_ONLY_VALUE,
  ORDER_ONLY_INDEX
};
enum class MaskMode : uint8_t { NORMAL = 0, COUNTER };
enum class CacheMode {
  CACHE_MODE_DISABLE = 0,
  CACHE_MODE_NORMAL = 1,
  CACHE_MODE_LAST = 2,
  CACHE_MODE_PERSISTENT = 4
};
enum class CacheRwMode { READ = 1, WRITE = 2, RW = 3 };
enum class CacheLine : uint64_t { SINGLE_CACHE_LINE = 0, ENTIRE_DATA_CACHE };
enum class DcciDst : uint64_t { CACHELINE_ALL = 0, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };

constexpr twin::Mem MemOf(TPosition pos) {
  switch (pos) {
    case TPosition::GM:
    case TPosition::CO2:
      return twin::Mem::kGm;
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
    case TPosition::TSCM:
      return twin::Mem::kL1;
    case TPosition::A2:
      return twin::Mem::kL0a;
    case TPosition::B2:
      return twin::Mem::kL0b;
    case TPosition::CO1:
      return twin::Mem::kL0c;
    case TPosition::C2:
      return twin::Mem::kBt;
    case TPosition::C2PIPE2GM:
    case TPosition::C2PIPE2LOCAL:
      return twin::Mem::kFb;
    default:
      return twin::Mem::kUb;
  }
}

struct EventPipes {
  twin::Pipe src, dst;
};

constexpr EventPipes PipesOf(HardEvent e) {
  using P = twin::Pipe;
  constexpr EventPipes table[] = {
      {P::kMte2, P::kMte1}, {P::kMte1, P::kMte2}, {P::kMte1, P::kM}, {P::kM, P::kMte1},
      {P::kMte2, P::kV},    {P::kV, P::kMte2},    {P::kMte3, P::kV}, {P::kV, P::kMte3},
      {P::kM, P::kV},       {P::kV, P::kM},       {P::kV, P::kV},    {P::kMte3, P::kMte1},
      {P::kMte1, P::kMte3}, {P::kMte1, P::kV},    {P::kMte2, P::kM}, {P::kM, P::kMte2},
      {P::kV, P::kMte1},    {P::kM, P::kFix},     {P::kFix, P::kM},  {P::kMte3, P::kMte2},
      {P::kMte2, P::kMte3}, {P::kS, P::kV},       {P::kV, P::kS},    {P::kS, P::kMte2},
      {P::kMte2, P::kS},    {P::kS, P::kMte3},    {P::kMte3, P::kS}, {P::kMte2, P::kFix},
      {P::kFix, P::kMte2},  {P::kFix, P::kS},     {P::kM, P::kS},    {P::kFix, P::kMte3},
      {P::kMte1, P::kFix},  {P::kFix, P::kMte1},  {P::kFix, P::kFix}};
  return table[static_cast<int>(e)];
}

constexpr twin::Pipe PipeOf(pipe_t p) {
  switch (p) {
    case PIPE_S:
      return twin::Pipe::kS;
    case PIPE_V:
      return twin::Pipe::kV;
    case PIPE_M:
      return twin::Pipe::kM;
    case PIPE_MTE1:
      return twin::Pipe::kMte1;
    case PIPE_MTE2:
      return twin::Pipe::kMte2;
    case PIPE_MTE3:
      return twin::Pipe::kMte3;
    case PIPE_FIX:
      return twin::Pipe::kFix;
    default:
      return twin::Pipe::kCount;
  }
}

}  // namespace AscendC
