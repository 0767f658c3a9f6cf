// SPDX-License-Identifier: Apache-2.0
// exp for vectors, argument <= a few: exp(-inf) is exactly 0, exp(0) exactly 1, NaN stays NaN.
#pragma once

namespace ms_nsa {
namespace {

// The polynomial with these coefficients, that of the highest power first.
template <class V, class... Floats>
inline typename V::Reg Polynomial(typename V::Reg x, float highest, Floats... lower) {
  auto p = V::Set1(highest);
  ((p = V::Fma(p, x, V::Set1(lower))), ...);
  return p;
}

// exp(f), |f| <= ln(2)/2; minimax, relative error 1.9e-9 before rounding.
template <class V>
inline typename V::Reg ExpPolynomial(typename V::Reg f) {
  return Polynomial<V>(f, 1.3836845994464334e-3f, 8.374815804268722e-3f, 4.166822556945535e-2f,
                       1.6666420169849727e-1f, 4.999999207981681e-1f, 1.0000000363231984f, 1.0f);
}

// 2^f, |f| <= 1/2; minimax among those with 2^0 = 1, relative error 2.8e-6: far below the rounding of a
// 16-bit probability.
template <class V>
inline typename V::Reg Exp2Polynomial(typename V::Reg f) {
  return Polynomial<V>(f, 0.0095828530951860835f, 0.055906424597169671f, 0.2402409860991081f,
                       0.69312419341771259f, 1.0f);
}

// 2^f, 0 <= f < 1, as above.
template <class V>
inline typename V::Reg Exp2OfFraction(typename V::Reg f) {
  return Polynomial<V>(f, 0.013426684272868028f, 0.05224247422082956f, 0.24128020475345593f,
                       0.69304484490255258f, 1.0f);
}

constexpr float kNegativeInfinity = -__builtin_inff();
constexpr float kLeastFinite = -__FLT_MAX__;
constexpr float kLog2E = 1.44269504088896341f;

// 2^x, to about 2^-18.
template <class V>
inline typename V::Reg Exp2(typename V::Reg x) {
  if constexpr (V::kHasFraction) {
    return V::ScaleByPowerOf2(Exp2OfFraction<V>(V::Fraction(x)), x);
  } else {
    // At the bound the result is 0; it keeps -inf out of the reduction.
    x = V::Max(V::Set1(V::kLeastPower), x);
    const auto whole = V::Round(x);
    return V::ScaleByPowerOf2(Exp2Polynomial<V>(V::Sub(x, whole)), whole);
  }
}

template <class V, bool kPrecise>
inline typename V::Reg Exp(typename V::Reg x) {
  if constexpr (kPrecise) {
    x = V::Max(V::Set1(V::kLeastPower / kLog2E), x);  // as in Exp2
    const auto whole = V::Round(V::Mul(x, V::Set1(kLog2E)));
    // ln(2) in two parts: the first has 9 trailing zeros, so its product with |whole| <= 200 is exact.
    auto f = V::Fma(whole, V::Set1(-0.693145751953125f), x);
    f = V::Fma(whole, V::Set1(-1.42860682030941723212e-6f), f);
    return V::ScaleByPowerOf2(ExpPolynomial<V>(f), whole);
  } else {
    return Exp2<V>(V::Mul(x, V::Set1(kLog2E)));
  }
}

}  // namespace
}  // namespace ms_nsa
