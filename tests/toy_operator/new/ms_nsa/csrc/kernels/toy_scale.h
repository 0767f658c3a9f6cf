// SPDX-License-Identifier: Apache-2.0
// The kernel of a scaled copy.
#pragma once

#include <cstring>

#include "../params.h"

namespace ms_nsa {
namespace {

template <class V, class E>
void ToyScale(const ToyScaleParams& p) {
  using Storage = typename E::Storage;
  const auto* x = static_cast<const Storage*>(p.x);
  auto* y = static_cast<Storage*>(p.y);
  const auto scale = V::Set1(p.scale_value);
  int64_t i = 0;
  for (; i + V::kLanes <= p.size; i += V::kLanes) E::Store(y + i, V::Mul(E::Load(x + i), scale));
  if (i == p.size) return;
  Storage rest[V::kLanes] = {};
  std::memcpy(rest, x + i, (p.size - i) * sizeof(Storage));
  E::Store(rest, V::Mul(E::Load(rest), scale));
  std::memcpy(y + i, rest, (p.size - i) * sizeof(Storage));
}

}  // namespace
}  // namespace ms_nsa
