// SPDX-License-Identifier: Apache-2.0
#include "l2.h"

#include <algorithm>

namespace twin {

uint64_t L2Cache::Touch(const GmRange& range, bool bypass) {
  uint64_t missed = 0;
  for (uint64_t line = range.begin / kLine; line * kLine < range.end; ++line) {
    const uint64_t bytes = std::min(range.end, (line + 1) * kLine) - std::max(range.begin, line * kLine);
    const auto found = where_.find(line);
    if (found != where_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      continue;
    }
    missed += bytes;
    if (bypass) continue;
    recent_.push_front(line);
    where_[line] = recent_.begin();
    if (where_.size() <= lines_) continue;
    where_.erase(recent_.back());
    recent_.pop_back();
  }
  return missed;
}

}  // namespace twin
