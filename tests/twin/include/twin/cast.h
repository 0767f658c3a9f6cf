// SPDX-License-Identifier: Apache-2.0
// Cast with every round mode.
#pragma once

#include <cmath>
#include <limits>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

// Rounds an exact value to the nearest multiples below and above as the mode asks; `unit` is the spacing
// there.
inline double RoundTo(double value, double unit, AscendC::RoundMode mode) {
  const double scaled = value / unit;
  const double down = std::floor(scaled);
  switch (mode) {
    case AscendC::RoundMode::CAST_FLOOR:
      return down * unit;
    case AscendC::RoundMode::CAST_CEIL:
      return std::ceil(scaled) * unit;
    case AscendC::RoundMode::CAST_TRUNC:
      return std::trunc(scaled) * unit;
    case AscendC::RoundMode::CAST_ROUND:
      return std::round(scaled) * unit;
    case AscendC::RoundMode::CAST_ODD:
      if (scaled == down) return value;
      return (std::fmod(down, 2.0) == 0.0 ? down + 1 : down) * unit;
    default:
      return std::nearbyint(scaled) * unit;
  }
}

// Spacing of a float format with `bits` explicit mantissa bits and smallest normal exponent `low`.
inline double Spacing(double value, int bits, int low) {
  int exponent = 0;
  std::frexp(value, &exponent);
  return std::ldexp(1.0, std::max(exponent - 1, low) - bits);
}

inline bool ToNearest(AscendC::RoundMode mode) {
  return mode == AscendC::RoundMode::CAST_RINT || mode == AscendC::RoundMode::CAST_NONE;
}

template <class D>
D RoundFloat(double v, AscendC::RoundMode mode) {
  if constexpr (std::is_same<D, float>::value) {
    return static_cast<float>(v);
  } else {
    if (ToNearest(mode) || !std::isfinite(v) || v == 0) return static_cast<D>(static_cast<float>(v));
    constexpr bool is_half = std::is_same<D, half>::value;
    return static_cast<D>(
        static_cast<float>(RoundTo(v, Spacing(v, is_half ? 10 : 7, is_half ? -14 : -126), mode)));
  }
}

// Integers saturate; NaN becomes 0.
template <class D>
D RoundInteger(double v, AscendC::RoundMode mode) {
  if (v != v) return 0;
  const double r = RoundTo(v, 1.0, mode);
  if (r <= static_cast<double>(std::numeric_limits<D>::min())) return std::numeric_limits<D>::min();
  if (r >= static_cast<double>(std::numeric_limits<D>::max())) return std::numeric_limits<D>::max();
  return static_cast<D>(r);
}

template <class T>
constexpr bool kIsFloat =
    std::is_same<T, float>::value || std::is_same<T, half>::value || std::is_same<T, bfloat16_t>::value;

template <class D, class S>
D CastValue(S v, AscendC::RoundMode mode) {
  if constexpr (std::is_integral<S>::value && std::is_integral<D>::value) {
    const int64_t wide = static_cast<int64_t>(v);
    const int64_t low = std::numeric_limits<D>::min(),
                  high = static_cast<int64_t>(std::numeric_limits<D>::max());
    return static_cast<D>(wide < low ? low : wide > high ? high : wide);
  } else if constexpr (std::is_same<S, float>::value && std::is_same<D, float>::value) {
    return std::isfinite(v) ? static_cast<float>(RoundTo(v, 1.0, mode)) : v;
  } else if constexpr (std::is_integral<D>::value) {
    return RoundInteger<D>(static_cast<double>(static_cast<float>(v)), mode);
  } else if constexpr (std::is_integral<S>::value) {
    if constexpr (std::is_same<D, float>::value && sizeof(S) >= 4) {
      return ToNearest(mode) ? static_cast<float>(v)
                             : static_cast<float>(RoundTo(static_cast<double>(v),
                                                          Spacing(static_cast<double>(v), 23, -126), mode));
    } else {
      return RoundFloat<D>(static_cast<double>(v), mode);
    }
  } else {
    return RoundFloat<D>(static_cast<double>(static_cast<float>(v)), mode);
  }
}

// Conversions of dav-2201 and the round modes each takes (bit per mode).
template <class D, class S>
constexpr unsigned CastModes() {
  constexpr unsigned none = 1, rint = 2, directed = 4 | 8 | 16 | 32, odd = 64;
  if (std::is_same<S, half>::value) {
    if (std::is_same<D, float>::value) return none;
    if (std::is_same<D, int32_t>::value || std::is_same<D, int16_t>::value) return rint | directed;
    if (std::is_same<D, int8_t>::value || std::is_same<D, uint8_t>::value) return none | rint | directed;
  }
  if (std::is_same<S, float>::value) {
    if (std::is_same<D, half>::value) return none | rint | directed | odd;
    if (std::is_same<D, bfloat16_t>::value || std::is_same<D, float>::value) return rint | directed;
    if (std::is_same<D, int64_t>::value || std::is_same<D, int32_t>::value ||
        std::is_same<D, int16_t>::value) {
      return rint | directed;
    }
  }
  if (std::is_same<S, bfloat16_t>::value) {
    if (std::is_same<D, float>::value) return none;
    if (std::is_same<D, int32_t>::value) return rint | directed;
  }
  if (std::is_same<S, int8_t>::value || std::is_same<S, uint8_t>::value)
    return std::is_same<D, half>::value ? none : 0;
  if (std::is_same<S, int16_t>::value) {
    if (std::is_same<D, half>::value) return none | rint | directed;
    if (std::is_same<D, float>::value) return none;
  }
  if (std::is_same<S, int32_t>::value) {
    if (std::is_same<D, float>::value) return none | rint | directed;
    if (std::is_same<D, int64_t>::value || std::is_same<D, int16_t>::value) return none;
    if (std::is_same<D, half>::value) return none;
  }
  if (std::is_same<S, int64_t>::value) {
    if (std::is_same<D, int32_t>::value) return none;
    if (std::is_same<D, float>::value) return rint | directed;
  }
  return 0;
}

template <class D, class S>
void RunCast(Instr& in, const AscendC::LocalTensor<D>& dst, const AscendC::LocalTensor<S>& src,
             AscendC::RoundMode mode, const Lanes& lanes, const Strides& d, const Strides& s) {
  constexpr unsigned modes = CastModes<D, S>();
  in.Require(modes != 0, Rule::kType, "does not convert %s to %s", TypeName<S>::value, TypeName<D>::value);
  in.Require(modes == 0 || (modes >> static_cast<unsigned>(mode) & 1), Rule::kRange,
             "round mode %d does not apply to %s -> %s", static_cast<int>(mode), TypeName<S>::value,
             TypeName<D>::value);
  RunUnary(in, dst, src, lanes, d, s, [&](S v) { return CastValue<D>(v, mode); });
}

}  // namespace twin

namespace AscendC {

template <class T, class U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint64_t mask[], const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams,
          TWIN_SITE) {
  twin::Instr in("Cast", twin::Pipe::kV, site);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  twin::RunCast(in, dst, src, roundMode, twin::MaskLanes(mask, repeatTime.wide, wide, isSetMask),
                repeatParams.Dst(), repeatParams.Src());
}
template <class T, class U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint64_t mask, const twin::Repeat repeatTime, const UnaryRepeatParams& repeatParams,
          TWIN_SITE) {
  twin::Instr in("Cast", twin::Pipe::kV, site);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  twin::RunCast(in, dst, src, roundMode, twin::MaskLanes(mask, repeatTime.wide, wide, isSetMask),
                repeatParams.Dst(), repeatParams.Src());
}
template <class T, class U>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint32_t count, TWIN_SITE) {
  twin::Instr in("Cast", twin::Pipe::kV, site);
  const uint32_t wide = std::max(sizeof(T), sizeof(U));
  twin::RunCast(in, dst, src, roundMode, twin::CountLanes(count, wide),
                twin::Strides{1, 8 * sizeof(T) / wide}, twin::Strides{1, 8 * sizeof(U) / wide});
}

}  // namespace AscendC
