// SPDX-License-Identifier: Apache-2.0
// Which bytes of GM are in L2: least recently used lines leave first.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>

#include "trace.h"

namespace twin {

class L2Cache {
 public:
  static constexpr uint64_t kLine = 128;
  explicit L2Cache(double bytes) : lines_(static_cast<size_t>(bytes / kLine)) {}

  // Bytes of the range's lines that were not there; they are afterwards, unless `bypass`.
  uint64_t Touch(const GmRange& range, bool bypass);

 private:
  size_t lines_;
  std::list<uint64_t> recent_;  // front: used last
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> where_;
};

}  // namespace twin
