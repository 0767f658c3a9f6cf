// SPDX-License-Identifier: Apache-2.0
// Parameter fields that remember what was assigned. On the device a uint16_t field wraps silently; the twin
// reports it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "twin/abi.h"

namespace twin {

template <class T>
struct Field {
  int64_t wide;

  Field() = default;
  template <class A, std::enable_if_t<std::is_arithmetic<A>::value || std::is_enum<A>::value, int> = 0>
  constexpr Field(A value) : wide(static_cast<int64_t>(value)) {}
  template <class U>
  constexpr Field(const Field<U>& other) : wide(other.wide) {}
  constexpr operator T() const { return static_cast<T>(wide); }

  template <class A>
  Field& operator+=(A v) {
    wide += static_cast<int64_t>(v);
    return *this;
  }
  template <class A>
  Field& operator-=(A v) {
    wide -= static_cast<int64_t>(v);
    return *this;
  }
  template <class A>
  Field& operator*=(A v) {
    wide *= static_cast<int64_t>(v);
    return *this;
  }
  Field& operator++() { return *this += 1; }
};

// The value must lie in [low, high]; it is what the kernel assigned, before the field wrapped it.
template <class T>
bool InRange(Instr& in, const char* name, const Field<T>& field, int64_t low, int64_t high) {
  return in.Require(field.wide >= low && field.wide <= high, Rule::kRange,
                    "%s must lie in [%lld, %lld], got %lld", name, static_cast<long long>(low),
                    static_cast<long long>(high), static_cast<long long>(field.wide));
}

// Repeat counts and vector strides: the whole range of their unsigned field is legal.
template <class T>
bool Fits(Instr& in, const char* name, const Field<T>& field) {
  constexpr int64_t high = sizeof(T) == 1 ? 0xff : sizeof(T) == 2 ? 0xffff : 0xffffffffll;
  return in.Require(field.wide >= 0 && field.wide <= high, Rule::kRepeat,
                    "%s must lie in [0, %lld], got %lld", name, static_cast<long long>(high),
                    static_cast<long long>(field.wide));
}

}  // namespace twin
