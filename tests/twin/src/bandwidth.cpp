// SPDX-License-Identifier: Apache-2.0
#include "bandwidth.h"

#include <algorithm>

namespace twin {

namespace {

// Fills one memory's bandwidth from the smallest demand up; who asks for less than an even part leaves the
// rest to the others.
void Divide(std::vector<Transfer>& transfers, double Transfer::* bytes, double per_cycle) {
  std::vector<Transfer*> users;
  double demand = 0;
  for (Transfer& t : transfers) {
    if (t.*bytes <= 0) continue;
    users.push_back(&t);
    demand += t.*bytes * t.rate;
  }
  if (demand <= per_cycle) return;
  std::sort(users.begin(), users.end(),
            [&](const Transfer* a, const Transfer* b) { return a->*bytes * a->rate < b->*bytes * b->rate; });
  double left = per_cycle;
  for (size_t i = 0; i < users.size(); ++i) {
    Transfer& t = *users[i];
    const double part = std::min(t.*bytes * t.rate, left / static_cast<double>(users.size() - i));
    t.rate = part / t.*bytes;
    left -= part;
  }
}

}  // namespace

void ShareBandwidth(std::vector<Transfer>& transfers, double hbm_per_cycle, double l2_per_cycle) {
  for (Transfer& t : transfers) t.rate = 1 / t.alone;
  Divide(transfers, &Transfer::hbm, hbm_per_cycle);
  Divide(transfers, &Transfer::l2, l2_per_cycle);
}

}  // namespace twin
