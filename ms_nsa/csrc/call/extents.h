// SPDX-License-Identifier: Apache-2.0
// Building blocks of the C++ code that the build generates from op_info (generate.py): arithmetic of extents,
// some of which are unknown while a graph with dynamic shapes is compiled, and comparison of whole shapes.
// C++11, because ascendc/op_host includes this file and CANN compiles it as C++11.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "errors.h"
#include "tensor.h"

namespace ms_nsa {

constexpr int64_t kUnknown = INT64_MIN;

inline std::string Text(const int64_t* extents, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) text += Join(i ? ", " : "", extents[i]);
  return text + "]";
}

inline std::string Text(const Tensor& tensor) {
  return Text(tensor.shape.data(), tensor.shape.size());
}

// Unknown if an operand is; a condition is 0, 1 or unknown.
namespace extent {

inline bool AnyUnknown(int64_t a, int64_t b) {
  return a == kUnknown || b == kUnknown;
}

inline int64_t Add(int64_t a, int64_t b) {
  int64_t sum;
  return AnyUnknown(a, b) || __builtin_add_overflow(a, b, &sum) ? kUnknown : sum;
}

inline int64_t Sub(int64_t a, int64_t b) {
  int64_t difference;
  return AnyUnknown(a, b) || __builtin_sub_overflow(a, b, &difference) ? kUnknown : difference;
}

inline int64_t Mul(int64_t a, int64_t b) {
  int64_t product;
  return AnyUnknown(a, b) || __builtin_mul_overflow(a, b, &product) ? kUnknown : product;
}

// Rounds down, as in Python; division by zero gives unknown.
inline int64_t Div(int64_t a, int64_t b) {
  if (AnyUnknown(a, b) || b == 0) return kUnknown;
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

inline int64_t Mod(int64_t a, int64_t b) {
  return Sub(a, Mul(Div(a, b), b));
}

inline int64_t Least(int64_t a, int64_t b) {
  return AnyUnknown(a, b) ? kUnknown : std::min(a, b);
}

inline int64_t Most(int64_t a, int64_t b) {
  return AnyUnknown(a, b) ? kUnknown : std::max(a, b);
}

inline int64_t Equal(int64_t a, int64_t b) {
  return AnyUnknown(a, b) ? kUnknown : a == b;
}

inline int64_t Less(int64_t a, int64_t b) {
  return AnyUnknown(a, b) ? kUnknown : a < b;
}

inline int64_t Not(int64_t a) {
  return a == kUnknown ? kUnknown : a == 0;
}

inline int64_t And(int64_t a, int64_t b) {
  return a == 0 || b == 0 ? 0 : AnyUnknown(a, b) ? kUnknown : 1;
}

inline int64_t Or(int64_t a, int64_t b) {
  return Not(And(Not(a), Not(b)));
}

inline int64_t Choose(int64_t condition, int64_t a, int64_t b) {
  return condition == kUnknown ? kUnknown : condition ? a : b;
}

inline int64_t Given(const Tensor& tensor) {
  return !tensor.absent();
}

inline int64_t Rank(const Tensor& tensor) {
  return tensor.absent() ? 0 : static_cast<int64_t>(tensor.shape.size());
}

inline int64_t Dim(const Tensor& tensor, size_t position) {
  if (position >= tensor.shape.size() || tensor.shape[position] < 0) return kUnknown;
  return tensor.shape[position];
}

inline int64_t Size(const Tensor& tensor) {
  int64_t size = 1;
  for (const int64_t extent : tensor.shape) size = Mul(size, extent < 0 ? kUnknown : extent);
  return size;
}

}  // namespace extent

// Argument, rule and value are one text here, as in op_info.
[[noreturn]] inline void FailRule(const char* op, const std::string& sentence) {
  throw ArgumentError(Join(op, ": ", sentence));
}

// Sizes and counts: the product of two fits in 64 bits.
inline void CheckSize(const char* op, const char* name, int64_t got, int64_t least) {
  if (got < least) Fail(op, name, Join("be at least ", least), Join(got));
  if (got > INT32_MAX) Fail(op, name, Join("be at most ", INT32_MAX), Join(got));
}

inline void CheckChoice(const char* op, const char* name, const std::string& got,
                        std::initializer_list<const char*> choices) {
  std::string list;
  size_t place = 0;
  for (const char* choice : choices) {
    if (got == choice) return;
    list += Join(place == 0 ? "" : place + 1 == choices.size() ? " or " : ", ", choice);
    ++place;
  }
  Fail(op, name, "be " + list, got);
}

inline void CheckRank(const char* op, const char* name, const Tensor& tensor,
                      std::initializer_list<size_t> ranks, const char* forms) {
  if (std::find(ranks.begin(), ranks.end(), tensor.shape.size()) != ranks.end()) return;
  Fail(op, name, Join("have rank ", forms), "shape " + Text(tensor));
}

inline void CheckShape(const char* op, const char* name, const Tensor& tensor, const char* form,
                       std::initializer_list<int64_t> wanted) {
  if (tensor.shape == Shape(wanted)) return;
  Fail(op, name, Join("have shape ", form, " = ", Text(wanted.begin(), wanted.size())),
       "shape " + Text(tensor));
}

// An input of the Ascend operator that joins two of the same length.
inline void SplitInHalves(const Tensor& joined, Tensor& first, Tensor& second) {
  first = joined, second = joined;
  if (joined.shape.empty() || joined.shape[0] < 0) return;
  first.shape[0] = joined.shape[0] / 2;
  second.shape[0] = joined.shape[0] - first.shape[0];
}

// As in MindSpore: -1 means unknown.
inline Shape OutputShape(std::initializer_list<int64_t> extents) {
  Shape shape(extents);
  std::replace(shape.begin(), shape.end(), kUnknown, int64_t{-1});
  return shape;
}

}  // namespace ms_nsa
