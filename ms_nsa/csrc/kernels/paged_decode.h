// Decode over a paged cache.
#pragma once

#include <stdexcept>

#include "../params.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
void PagedAttention(const PagedAttentionParams&) {
  throw std::runtime_error("NsaSelectedAttentionInfer: not built into this library");
}

}  // namespace
}  // namespace ms_nsa
