// SPDX-License-Identifier: Apache-2.0
// How tensors store their elements: conversion between storage and fp32 vectors.
#pragma once

#include <cstdint>
#include <cstring>

namespace ms_nsa {
namespace {

template <class V>
struct Fp32 {
  using Storage = float;
  static typename V::Reg Load(const Storage* p) { return V::Load(p); }
  static void Store(Storage* p, typename V::Reg x) { V::Store(p, x); }
};

template <class V>
struct Fp16 {
  using Storage = uint16_t;
  static typename V::Reg Load(const Storage* p) { return V::LoadHalf(p); }
  static void Store(Storage* p, typename V::Reg x) { V::StoreHalf(p, x); }
};

template <class V>
struct Bf16 {
  using Storage = uint16_t;
  static typename V::Reg Load(const Storage* p) { return V::LoadBf16(p); }
  static void Store(Storage* p, typename V::Reg x) { V::StoreBf16(p, x); }
};

// The first count elements of p, then zeros: what vector loads may read where a row ends.
template <class T, int kCapacity>
struct Tail {
  alignas(64) T element[kCapacity] = {};
  Tail(const T* p, int64_t count) { std::memcpy(element, p, count * sizeof(T)); }
};

// A vector of elements of which only `left` exist; the others are zero, and not touched.
template <class V, class E>
inline typename V::Reg LoadUpTo(const typename E::Storage* from, int64_t left) {
  if (left >= V::kLanes) return E::Load(from);
  return E::Load(Tail<typename E::Storage, V::kLanes>(from, left).element);
}

template <class V, class E>
inline void StoreUpTo(typename E::Storage* to, typename V::Reg x, int64_t left) {
  if (left >= V::kLanes) return E::Store(to, x);
  typename E::Storage tail[V::kLanes];
  E::Store(tail, x);
  std::memcpy(to, tail, left * sizeof tail[0]);
}

// Writes fp32 values (padded to whole vectors), divided by divisor, as count elements of storage, zeros as
// +0: the sign of a sum that underflows depends on zeros that were added or left out. Returns whether all are
// finite.
template <class V, class E>
inline bool StoreRow(typename E::Storage* dst, const float* src, int64_t count, float divisor) {
  const auto by = V::Set1(divisor), nothing = V::Zero();
  auto finite = nothing;  // stays zero: 0 * x is 0 for finite x and NaN otherwise
  for (int64_t i = 0; i < count; i += V::kLanes) {
    const auto x = V::Add(V::Div(V::Load(src + i), by), nothing);
    finite = V::Fma(nothing, x, finite);
    StoreUpTo<V, E>(dst + i, x, count - i);
  }
  const float sum = V::ReduceAdd(finite);
  return sum == sum;
}

// Writes fp32 values (padded to whole vectors) as count elements of storage, zeros as +0.
template <class V, class E>
inline void StoreRow(typename E::Storage* dst, const float* src, int64_t count) {
  for (int64_t i = 0; i < count; i += V::kLanes)
    StoreUpTo<V, E>(dst + i, V::Add(V::Load(src + i), V::Zero()), count - i);
}

// Inner product of two storage rows in fp32.
template <class V, class E>
inline float DotRows(const typename E::Storage* a, const typename E::Storage* b, int64_t count) {
  auto sum = V::Zero();
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) sum = V::Fma(E::Load(a + i), E::Load(b + i), sum);
  if (i < count) {
    const Tail<typename E::Storage, V::kLanes> x(a + i, count - i), y(b + i, count - i);
    sum = V::Fma(E::Load(x.element), E::Load(y.element), sum);
  }
  return V::ReduceAdd(sum);
}

}  // namespace
}  // namespace ms_nsa
