// SPDX-License-Identifier: Apache-2.0
// The operations of a vector type.
#pragma once

#include <type_traits>

#include MS_NSA_SIMD_HEADER
#include "simd_planted.h"

namespace simd_test {

template <class V>
class VectorTest {
 public:
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kLanes;

  explicit VectorTest(Report& report) : report_(report), sample_(Samples()) {}

  void Run() {
    Limits();
    Moves();
    Arithmetic();
    Masks();
    Reductions();
    Rounding();
    PowersOf2();
    Matrices();
    Pairs();
    Storage();
  }

 private:
  struct Lanes {
    float lane[kLanes];
  };
  static Lanes Read(Reg x) {
    Lanes lanes;
    V::Store(lanes.lane, x);
    return lanes;
  }
  float Sample(size_t i) const { return sample_[i % sample_.size()]; }
  Lanes Window(size_t first) const {
    Lanes x;
    for (int i = 0; i < kLanes; ++i) x.lane[i] = Sample(first + i);
    return x;
  }

  static void Limits() {
    static_assert((kLanes & (kLanes - 1)) == 0 && kLanes >= 4 && kLanes <= 16, "lanes: 4, 8 or 16");
    static_assert(V::kTileRows >= 1 && V::kTileRows <= 8 && V::kTileVectors >= 1 && V::kTileVectors <= 4);
    struct Registers {
      Reg two[2];
    };
    static_assert(std::is_trivially_copyable_v<Registers> && sizeof(Registers) == 2 * sizeof(Lanes));
  }

  void Moves() {
    for (size_t first = 0; first < sample_.size(); ++first) {  // every lane and every misalignment
      const Lanes x = Window(first), set = Read(V::Set1(Sample(first)));
      std::vector<float> memory(first % 5 + kLanes);
      std::memcpy(memory.data() + first % 5, x.lane, sizeof x);
      const Lanes loaded = Read(V::Load(memory.data() + first % 5));
      for (int i = 0; i < kLanes; ++i) {
        for (const char* name : {"Load", "Store"}) report_.Same(name, loaded.lane[i], x.lane[i]);
        report_.Same("Set1", set.lane[i], Sample(first));
        report_.Same("Zero", Read(V::Zero()).lane[i], 0.0f);
      }
    }
  }

  // f(a, b) of every pair of samples.
  template <class F>
  void ForPairs(F f) {
    for (size_t shift = 0; shift < sample_.size(); ++shift) {
      for (size_t first = 0; first < sample_.size(); first += kLanes) f(Window(first), Window(first + shift));
    }
  }

  void Arithmetic() {
    ForPairs([&](const Lanes& x, const Lanes& y) {
      const Reg a = V::Load(x.lane), b = V::Load(y.lane);
      const Lanes sum = Read(V::Add(a, b)), difference = Read(V::Sub(a, b)), product = Read(V::Mul(a, b)),
                  quotient = Read(V::Div(a, b)), fused = Read(V::Fma(a, b, V::Set1(1.0f))),
                  max = Read(V::Max(a, b));
      const uint32_t at_least = V::AtLeast(a, b);
      report_.True("AtLeast", at_least >> (kLanes - 1) <= 1);
      for (int i = 0; i < kLanes; ++i) {
        const float p = x.lane[i], q = y.lane[i];
        report_.Same("Add", sum.lane[i], p + q);
        report_.Same("Sub", difference.lane[i], p - q);
        report_.Same("Mul", product.lane[i], p * q);
        report_.Same("Div", quotient.lane[i], p / q);
        const float twice = p * q + 1.0f;  // the scalar type rounds twice
        if (!Same(fused.lane[i], twice)) report_.Same("Fma", fused.lane[i], std::fma(p, q, 1.0f));
        CheckMax(max.lane[i], p, q);
        report_.True("AtLeast", (at_least >> i & 1) == (p >= q));
      }
    });
  }

  // Of +0 and -0 either may come out, and NaN of the first argument may be lost.
  void CheckMax(float got, float a, float b) {
    if (std::isnan(b)) return report_.True("Max", std::isnan(got));
    if (std::isnan(a)) return report_.True("Max", std::isnan(got) || Same(got, b));
    report_.True("Max", got == (a < b ? b : a));
  }

  void Masks() {
    const Lanes yes = Window(3), no = Window(50);
    const uint32_t beyond = ~0u << kLanes;  // must not matter
    for (uint32_t bits = 0; bits < 1u << kLanes; bits = bits * 5 / 4 + 1) {
      const Lanes got = Read(V::Select(V::MaskFromBits(bits | beyond), V::Load(yes.lane), V::Load(no.lane)));
      for (int i = 0; i < kLanes; ++i) {
        for (const char* name : {"MaskFromBits", "Select"})
          report_.Same(name, got.lane[i], bits >> i & 1 ? yes.lane[i] : no.lane[i]);
      }
    }
  }

  // Sums of whole numbers are exact in any order.
  void Reductions() {
    for (int first = 0; first < 40; ++first) {
      Lanes x;
      float sum = 0, max = -kInf;
      for (int i = 0; i < kLanes; ++i) {
        x.lane[i] = static_cast<float>((first * 37 + i * i * 11) % 101 - 50);
        sum += x.lane[i];
        max = std::max(max, x.lane[i]);
      }
      report_.Same("ReduceAdd", V::ReduceAdd(V::Load(x.lane)), sum);
      report_.Same("ReduceMax", V::ReduceMax(V::Load(x.lane)), max);
      x.lane[first % kLanes] = kNan;
      report_.True("ReduceAdd", std::isnan(V::ReduceAdd(V::Load(x.lane))));
      x.lane[first % kLanes] = kInf;
      report_.Same("ReduceMax", V::ReduceMax(V::Load(x.lane)), kInf);
      report_.Same("ReduceMax", V::ReduceMax(V::Set1(-kInf)), -kInf);
    }
  }

  void Rounding() {
    for (size_t first = 0; first < sample_.size(); ++first) {
      const Lanes x = Window(first), whole = Read(V::Round(V::Load(x.lane)));
      for (int i = 0; i < kLanes; ++i) {
        // Larger numbers are whole already; the sign of a zero does not matter.
        const float want = std::nearbyint(x.lane[i]);
        if (!(whole.lane[i] == want)) report_.Same("Round", whole.lane[i], want);
      }
      if constexpr (V::kHasFraction) CheckFraction(x);
    }
  }

  void CheckFraction(const Lanes& x) {
    const Lanes fraction = Read(V::Fraction(V::Load(x.lane)));
    for (int i = 0; i < kLanes; ++i) {
      const double a = x.lane[i];
      if (std::isnan(a)) continue;
      report_.Near("Fraction", fraction.lane[i], std::isinf(a) ? 0.0 : a - std::floor(a), 0x1p-24);
    }
  }

  void PowersOf2() {
    const float factors[] = {0.5f, 0x1.6a09e6p-1f, 1.0f, 0x1.99999ap0f};
    for (int n = static_cast<int>(V::kLeastPower); n <= 127; ++n) {
      for (const float factor : factors) {
        const double want = n == V::kLeastPower ? 0.0 : std::ldexp(double{factor}, n);
        const float power = V::kHasFraction ? n + 0.75f : n;
        const Lanes got = Read(V::ScaleByPowerOf2(V::Set1(factor), V::Set1(power)));
        for (const float x : got.lane) {
          report_.Same("ScaleByPowerOf2", x, static_cast<float>(want));
        }
      }
    }
    for (const float x : Read(V::ScaleByPowerOf2(V::Set1(kNan), V::Set1(kNan))).lane)
      report_.Same("ScaleByPowerOf2", x, kNan);
  }

  void Matrices() {
    Reg rows[kLanes], turned[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      float lane[kLanes];
      for (int j = 0; j < kLanes; ++j) lane[j] = static_cast<float>((i * 31 + j * 7) % 97 - 40);
      turned[i] = rows[i] = V::Load(lane);
    }
    V::Transpose(turned);
    const Lanes sum = Read(V::SumEach(rows)), max = Read(V::MaxEach(rows));
    for (int i = 0; i < kLanes; ++i) {
      float total = 0, largest = -kInf;
      for (int j = 0; j < kLanes; ++j) {
        const float x = Read(rows[i]).lane[j];
        report_.Same("Transpose", Read(turned[j]).lane[i], x);
        total += x;
        largest = std::max(largest, x);
      }
      report_.Same("SumEach", sum.lane[i], total);
      report_.Same("MaxEach", max.lane[i], largest);
    }
  }

  void Pairs() {
    float both[2 * kLanes];
    for (int i = 0; i < 2 * kLanes; ++i) both[i] = i == 5 ? kNan : static_cast<float>(i * 13 % 29 - 11);
    Reg a = V::Load(both), b = V::Load(both + kLanes);
    V::Deinterleave(a, b);
    for (int i = 0; i < kLanes; ++i) {
      report_.Same("Deinterleave", Read(a).lane[i], both[2 * i]);
      report_.Same("Deinterleave", Read(b).lane[i], both[2 * i + 1]);
    }
  }

  // Every number of 16 bits, and the ties between neighbours with what lies beside them.
  void Storage() {
    uint16_t number[kLanes];
    for (int first = 0; first < 65536; first += kLanes) {
      for (int i = 0; i < kLanes; ++i) number[i] = static_cast<uint16_t>(first + i);
      const Lanes half = Read(V::LoadHalf(number)), bf16 = Read(V::LoadBf16(number));
      for (int i = 0; i < kLanes; ++i) {
        report_.Same("LoadHalf", half.lane[i], HalfValue(number[i]));
        report_.Same("LoadBf16", bf16.lane[i], Bf16Value(number[i]));
      }
      if (first % 512 != 0 && first % 0x7c00 >= 64) continue;
      CheckStores(half, [](float x) { return Bits(x) + 0x1000; });
      CheckStores(bf16, [](float x) { return Bits(x) + 0x8000; });
    }
    for (size_t first = 0; first < sample_.size(); ++first)
      CheckStores(Window(first), [](float x) { return Bits(x); });
  }

  template <class F>
  void CheckStores(const Lanes& x, F tie) {
    for (int beside = -1; beside <= 1; ++beside) {
      Lanes from;
      uint16_t half[kLanes], bf16[kLanes];
      for (int i = 0; i < kLanes; ++i) from.lane[i] = FromBits(tie(x.lane[i]) + beside);
      V::StoreHalf(half, V::Load(from.lane));
      V::StoreBf16(bf16, V::Load(from.lane));
      for (int i = 0; i < kLanes; ++i) {
        report_.Same("StoreHalf", HalfValue(half[i]), AsHalf(from.lane[i]));
        report_.Same("StoreBf16", Bf16Value(bf16[i]), AsBf16(from.lane[i]));
      }
    }
  }

  Report& report_;
  const std::vector<float> sample_;
};

}  // namespace simd_test
