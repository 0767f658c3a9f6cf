// SPDX-License-Identifier: Apache-2.0
// The same vector type and dot policy with an error in one operation, named when the test runs: every other
// operation stays right.
#pragma once

#include <string>

#include "simd_values.h"

namespace simd_test {

inline std::string planted;  // an operation, or an operation and the limit at which it is wrong

inline bool Is(const char* error) {
  return planted == error;
}

template <class V>
struct Planted : V {
  using typename V::Mask;
  using typename V::Reg;
  using V::kLanes;

  // x with the last bit of its last lane turned round, if the operation is the planted one.
  static Reg Spoil(const char* operation, Reg x) {
    if (!Is(operation)) return x;
    return ChangeLanes(x, [](int i, float lane) { return i == kLanes - 1 ? Other(lane) : lane; });
  }
  static float Other(float x) { return FromBits(Bits(x) ^ 1); }
  template <class F>
  static Reg ChangeLanes(Reg x, F f) {
    float lane[kLanes];
    V::Store(lane, x);
    for (int i = 0; i < kLanes; ++i) lane[i] = f(i, lane[i]);
    return V::Load(lane);
  }

  static Reg Zero() { return Spoil("Zero", V::Zero()); }
  static Reg Set1(float x) { return Spoil("Set1", V::Set1(x)); }
  static Reg Load(const float* p) { return Spoil("Load", V::Load(p)); }
  static void Store(float* p, Reg x) { V::Store(p, Spoil("Store", x)); }
  static Reg Add(Reg a, Reg b) { return Spoil("Add", V::Add(a, b)); }
  static Reg Sub(Reg a, Reg b) { return Spoil("Sub", V::Sub(a, b)); }
  static Reg Mul(Reg a, Reg b) {
    if (!Is("Mul flushes")) return Spoil("Mul", V::Mul(a, b));
    return ChangeLanes(V::Mul(a, b), [](int, float x) { return std::fabs(x) < kTiny ? x * 0 : x; });
  }
  static Reg Div(Reg a, Reg b) { return Spoil("Div", V::Div(a, b)); }
  static Reg Fma(Reg a, Reg b, Reg c) { return Spoil("Fma", V::Fma(a, b, c)); }
  static Reg Max(Reg a, Reg b) {
    if (!Is("Max loses NaN")) return Spoil("Max", V::Max(a, b));
    float first[kLanes];
    V::Store(first, a);
    return ChangeLanes(V::Max(a, b), [&](int i, float x) { return std::isnan(x) ? first[i] : x; });
  }
  static Mask MaskFromBits(uint32_t bits) {
    return V::MaskFromBits(Is("MaskFromBits") ? bits ^ 1u << (kLanes - 1) : bits);
  }
  static uint32_t AtLeast(Reg a, Reg b) {
    return Is("AtLeast") ? V::AtLeast(a, b) ^ 1u << (kLanes - 1) : V::AtLeast(a, b);
  }
  static Reg Select(Mask m, Reg yes, Reg no) { return Spoil("Select", V::Select(m, yes, no)); }
  static float ReduceMax(Reg a) { return Is("ReduceMax") ? Other(V::ReduceMax(a)) : V::ReduceMax(a); }
  static float ReduceAdd(Reg a) { return Is("ReduceAdd") ? Other(V::ReduceAdd(a)) : V::ReduceAdd(a); }
  static Reg Round(Reg a) {
    if (!Is("Round up at ties")) return Spoil("Round", V::Round(a));
    return ChangeLanes(a, [](int, float x) { return std::isfinite(x) ? std::round(x) : x; });
  }
  static Reg Fraction(Reg a) { return Spoil("Fraction", V::Fraction(a)); }
  static Reg ScaleByPowerOf2(Reg x, Reg n) {
    if (!Is("ScaleByPowerOf2 of the least")) return Spoil("ScaleByPowerOf2", V::ScaleByPowerOf2(x, n));
    return ChangeLanes(V::ScaleByPowerOf2(x, n), [](int, float y) { return y == 0 ? kTiny : y; });
  }
  static void Transpose(Reg* r) {
    V::Transpose(r);
    r[kLanes - 1] = Spoil("Transpose", r[kLanes - 1]);
  }
  static void Deinterleave(Reg& a, Reg& b) {
    V::Deinterleave(a, b);
    b = Spoil("Deinterleave", b);
  }
  static Reg SumEach(const Reg* r) { return Spoil("SumEach", V::SumEach(r)); }
  static Reg MaxEach(const Reg* r) { return Spoil("MaxEach", V::MaxEach(r)); }

  static Reg LoadHalf(const uint16_t* p) {
    if (!Is("LoadHalf flushes")) return Spoil("LoadHalf", V::LoadHalf(p));
    return ChangeLanes(V::LoadHalf(p), [](int, float x) { return std::fabs(x) < 0x1p-14f ? x * 0 : x; });
  }
  static void StoreHalf(uint16_t* p, Reg x) {
    V::StoreHalf(p,
                 Is("StoreHalf twice rounded") ? ChangeLanes(x, [](int, float y) { return AsBf16(y); }) : x);
    if (Is("StoreHalf")) p[kLanes - 1] ^= 1;
  }
  static Reg LoadBf16(const uint16_t* p) { return Spoil("LoadBf16", V::LoadBf16(p)); }
  static void StoreBf16(uint16_t* p, Reg x) {
    V::StoreBf16(p, x);
    if (Is("StoreBf16")) p[kLanes - 1] ^= 1;
    if (!Is("StoreBf16 truncates")) return;
    float lane[kLanes];
    V::Store(lane, x);
    for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint16_t>(Bits(lane[i]) >> 16);
  }
};

template <class D>
struct PlantedDot : D {
  using typename D::B;
  using typename D::Operand;
  using typename D::Reg;
  static constexpr int kLanes = D::Vec::kLanes, kRow = kLanes * D::kPair;

  static void SpoilMemory(const char* operation, Operand* p, int elements) {
    if (Is(operation)) reinterpret_cast<unsigned char*>(p + elements - 1)[sizeof(Operand) - 1] ^= 1;
  }
  static Reg Spoil(const char* operation, Reg x) { return Planted<typename D::Vec>::Spoil(operation, x); }
  static B SpoilB(const char* operation, B x) {
    Operand row[kRow];
    std::memcpy(row, &x, sizeof x);
    SpoilMemory(operation, row, kRow);
    std::memcpy(&x, row, sizeof x);
    return x;
  }

  static auto Broadcast(const Operand* a) {
    Operand pair[D::kPair];
    std::memcpy(pair, a, sizeof pair);
    SpoilMemory("Broadcast", pair, D::kPair);
    return D::Broadcast(pair);
  }
  static B LoadB(const Operand* b) { return SpoilB("LoadB", D::LoadB(b)); }
  template <class A>
  static Reg MulAdd(Reg acc, A a, B b) {
    return Spoil("MulAdd", D::MulAdd(acc, a, b));
  }
  static Reg MulAddBroadcast(Reg acc, const Operand* a, B b) {
    return Spoil("MulAddBroadcast", D::MulAddBroadcast(acc, a, b));
  }
  static void StoreRow(Operand* p, Reg x) {
    D::StoreRow(p, x);
    SpoilMemory("StoreRow", p, kLanes);
  }
  static void StoreRow(Operand* p, Reg first, Reg second) {
    D::StoreRow(p, first, second);
    SpoilMemory("StoreRow of two", p, 2 * kLanes);
  }
  static void StorePair(Operand* p, Reg first, Reg second) {
    D::StorePair(p, first, second);
    SpoilMemory("StorePair", p, kRow);
  }
  template <class E>
  static void CopyPair(Operand* p, const typename E::Storage* first, const typename E::Storage* second) {
    D::template CopyPair<E>(p, first, second);
    SpoilMemory("CopyPair", p, kRow);
  }
  template <class E>
  static Reg LoadDepth(const typename E::Storage* p) {
    return Spoil("LoadDepth", D::template LoadDepth<E>(p));
  }
  static void StoreDepth(Operand* p, Reg x) {
    D::StoreDepth(p, x);
    SpoilMemory("StoreDepth", p, kRow);
  }
  static void StoreColumns(Operand* p, Reg x) {
    D::StoreColumns(p, x);
    SpoilMemory("StoreColumns", p, kRow);
  }
  template <class E>
  static B LoadRow(const typename E::Storage* p) {
    return SpoilB("LoadRow", D::template LoadRow<E>(p));
  }
  template <class E>
  static void LoadColumns(const typename E::Storage* const* row, int64_t column, B* b) {
    D::template LoadColumns<E>(row, column, b);
    b[D::kPair - 1] = SpoilB("LoadColumns", b[D::kPair - 1]);
  }
};

}  // namespace simd_test
