// SPDX-License-Identifier: Apache-2.0
// What is built on a vector type for rows of any length: simd/element.h and simd/exp.h.
#pragma once

#include MS_NSA_SIMD_HEADER
#include "../../ms_nsa/csrc/simd/element.h"
#include "../../ms_nsa/csrc/simd/exp.h"
#include "simd_planted.h"

namespace simd_test {

template <class V>
class ElementTest {
 public:
  static constexpr int kLanes = V::kLanes, kLongest = 2 * kLanes + 1;

  explicit ElementTest(Report& report) : report_(report) {}

  void Run() {
    Exponentials<true>();
    Exponentials<false>();
    Rows<ms_nsa::Fp32<V>>([](float x) { return x; });
    Rows<ms_nsa::Fp16<V>>(AsHalf);
    Rows<ms_nsa::Bf16<V>>(AsBf16);
  }

 private:
  // Results below the normal numbers may be zero. The short polynomial is off by 2.8e-6, and its argument by
  // half a place of x * log2(e).
  template <bool kPrecise>
  void Exponentials() {
    float x[kLanes], got[kLanes];
    for (int first = -9400; first <= 300; first += kLanes) {
      for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(first + i) * 0.01f;
      V::Store(got, ms_nsa::Exp<V, kPrecise>(V::Load(x)));
      for (int i = 0; i < kLanes; ++i) {
        const double want = std::exp(double{x[i]});
        const double error = kPrecise ? 3e-7 : 3.1e-6 + 1.2e-7 * std::fabs(x[i]);
        report_.Near("Exp", got[i], want, want * error + kTiny);
      }
    }
    const float limits[] = {0.0f, -150.0f, -1e4f, -1e30f, -kMax, -kInf, kNan};
    for (const float limit : limits) {
      V::Store(got, ms_nsa::Exp<V, kPrecise>(V::Set1(limit)));
      for (const float lane : got) report_.Same("Exp", lane, limit == 0 ? 1.0f : limit < 0 ? 0.0f : kNan);
    }
  }

  template <class E>
  static void StoreAll(typename E::Storage* to, const float* from, int count) {
    float padded[kLongest + kLanes];
    for (int i = 0; i < kLongest + kLanes; ++i) padded[i] = i < count ? from[i] : 0.0f;
    ms_nsa::StoreRow<V, E>(to, padded, count, 1.0f);
  }

  // Rows of every length: what lies beyond them is neither read nor written.
  template <class E, class Rounded>
  void Rows(Rounded rounded) {
    using S = typename E::Storage;
    for (int count = 0; count <= kLongest; ++count) {
      float from[kLongest + kLanes] = {};
      for (int i = 0; i < count; ++i) from[i] = 1.0f + static_cast<float>(i * i) * 0.37f;
      S row[kLongest + 1];
      std::memset(row, 0xff, sizeof row);
      report_.True("StoreRow of a tensor", (ms_nsa::StoreRow<V, E>(row, from, count, 3.0f)));
      const S beyond = row[count];
      report_.True("StoreRow of a tensor", std::memcmp(&beyond, &row[kLongest], sizeof beyond) == 0);
      const ms_nsa::Tail<S, kLongest + kLanes> tail(row, count);
      for (int i = 0; i < kLongest + kLanes - kLanes; ++i) {
        float lane[kLanes];
        V::Store(lane, E::Load(tail.element + i));
        report_.Same("StoreRow of a tensor", lane[0], i < count ? rounded(from[i] / 3.0f) : 0.0f);
      }
      CheckFinite<E>(from, count);
      CheckDot<E>(count);
    }
  }

  template <class E>
  void CheckFinite(float* from, int count) {
    typename E::Storage row[kLongest + 1];
    for (const float bad : {kInf, -kInf, kNan}) {
      for (int i = 0; i < count; i += 1 + kLanes / 2) {
        const float kept = from[i];
        from[i] = bad;
        report_.True("StoreRow of a tensor", !ms_nsa::StoreRow<V, E>(row, from, count, 3.0f));
        from[i] = kept;
      }
    }
  }

  template <class E>
  void CheckDot(int count) {
    float a[kLongest], b[kLongest], sum = 0;
    typename E::Storage x[kLongest + 1], y[kLongest + 1];
    std::memset(x, 0xff, sizeof x);  // NaN beyond the rows
    std::memset(y, 0xff, sizeof y);
    for (int i = 0; i < count; ++i) {
      a[i] = static_cast<float>(i % 7 - 3), b[i] = static_cast<float>(i * 5 % 11 - 4);
      sum += a[i] * b[i];
    }
    StoreAll<E>(x, a, count);
    StoreAll<E>(y, b, count);
    report_.Same("DotRows", ms_nsa::DotRows<V, E>(x, y, count) + 0.0f, sum);
  }

  Report& report_;
};

}  // namespace simd_test
