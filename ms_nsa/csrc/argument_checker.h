// SPDX-License-Identifier: Apache-2.0
// The rules about ranks and extents, each stated once, so that a check reads: argument, what it must be.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "errors.h"

namespace ms_nsa {
namespace {

constexpr int64_t kLargest = INT32_MAX;  // of sizes and counts: products of two stay inside 64 bits

inline std::string Text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += Join(i ? ", " : "", shape[i]);
  return text + "]";
}

// One operator's checks.
class Checker {
 public:
  explicit Checker(std::string op) : op_(std::move(op)) {}

  void Rank(const char* name, const Tensor& tensor, size_t rank, const char* dims) const {
    if (tensor.shape.size() != rank)
      Fail(op_, name, Join("have rank ", rank, " ", dims), "shape " + Text(tensor.shape));
  }

  void Shape(const char* name, const Tensor& tensor, const char* dims,
             const std::vector<int64_t>& shape) const {
    if (tensor.shape != shape) {
      Fail(op_, name, Join("have shape ", dims, " = ", Text(shape)), "shape " + Text(tensor.shape));
    }
  }

  void Equal(const char* name, const char* rule, int64_t wanted, int64_t got) const {
    if (wanted != got) Fail(op_, name, Join(rule, " = ", wanted), Join(got));
  }

  void Positive(const char* name, int64_t got) const {
    if (got < 1) Fail(op_, name, "be at least 1", Join(got));
    if (got > kLargest) Fail(op_, name, Join("be at most ", kLargest), Join(got));
  }

  void Multiple(int64_t n1, int64_t n2, const char* n2_name) const {
    if (n1 % n2 != 0) Fail(op_, "head_num", Join("be a multiple of ", n2_name, " (", n2, ")"), Join(n1));
  }

  void Mask(const Tensor& mask) const {
    if (!mask.absent()) Rank("atten_mask", mask, 2, "[max Sq, max Sk]");
  }

  // Some sequence has a row where there are rows at all: a mask without any is too small whatever the
  // lengths.
  void MaskCovers(const Tensor& mask, int64_t t1, int64_t t2) const {
    if (mask.absent() ||
        (mask.shape[0] >= std::min<int64_t>(t1, 1) && mask.shape[1] >= std::min<int64_t>(t2, 1)))
      return;
    Fail(op_, "atten_mask", "cover [max Sq, max Sk]", "shape " + Text(mask.shape));
  }

  void Lengths(const char* name, const Tensor& lengths) const {
    if (!lengths.absent()) Rank(name, lengths, 1, "[B]");
  }

  void SomeLengths(const char* name, const Tensor& lengths) const {
    Lengths(name, lengths);
    if (!lengths.absent() && lengths.size() == 0)
      Fail(op_, name, "hold at least one length", "shape " + Text(lengths.shape));
  }

 private:
  std::string op_;
};

}  // namespace
}  // namespace ms_nsa
