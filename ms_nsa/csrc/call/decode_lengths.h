// SPDX-License-Identifier: Apache-2.0
// The tokens of a decode call: how many each sequence has, and where they are.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "check_values.h"
#include "errors.h"
#include "tensor.h"

namespace ms_nsa {

inline int64_t Longest(const int64_t* lengths, int64_t batch) {
  return batch ? *std::max_element(lengths, lengths + batch) : 0;
}

template <class Operator>
std::vector<int64_t> QueryLengths(const Operator& op) {
  const int64_t* given = op.actual_seq_qlen.template given_as<int64_t>();
  if (given != nullptr) return {given, given + op.B};
  return std::vector<int64_t>(op.B, op.layout == "TND" ? 1 : op.S);
}

// First token row of each sequence; in TND the sequences are concatenated.
template <class Operator>
std::vector<int64_t> QueryStarts(const Operator& op, const std::vector<int64_t>& q_len) {
  std::vector<int64_t> start(op.B, op.S);
  if (op.layout == "TND") start = q_len;
  std::exclusive_scan(start.begin(), start.end(), start.begin(), int64_t{0});
  return start;
}

template <class Operator>
void CheckQueryLengths(const Operator& op, const std::vector<int64_t>& q_len) {
  const bool tnd = op.layout == "TND";
  CheckLengths(op.kName, "actual_seq_qlen", q_len.data(), op.B, tnd ? "T" : "S", tnd ? op.T : op.S);
  const int64_t total = std::accumulate(q_len.begin(), q_len.end(), int64_t{0});
  if (tnd && total != op.T) Fail(op.kName, "actual_seq_qlen", Join("sum to T = ", op.T), Join(total));
}

}  // namespace ms_nsa
