// SPDX-License-Identifier: Apache-2.0
// A tensor of a call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ms_nsa {

using Shape = std::vector<int64_t>;
using Shapes = std::vector<Shape>;

// Rank of the empty tensor that stands for None (ms_nsa/primitive). No input may have this rank, so every
// tensor that a user gives is checked, even an empty one.
constexpr size_t kAbsentRank = 7;

struct Tensor {
  Shape shape = Shape(kAbsentRank, 0);
  std::string dtype;  // MindSpore's name, e.g. "bfloat16"; empty where it is not known (shape inference)
  const void* data = nullptr;  // nullptr while only shapes are checked

  bool absent() const {
    if (shape.size() != kAbsentRank) return false;
    for (const int64_t extent : shape) {
      if (extent != 0) return false;
    }
    return true;
  }

  int64_t size() const {
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    return size;
  }

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }

  // nullptr where the tensor is absent.
  template <typename T>
  const T* given_as() const {
    return absent() ? nullptr : as<T>();
  }
};

}  // namespace ms_nsa
