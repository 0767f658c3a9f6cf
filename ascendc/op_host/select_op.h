// SPDX-License-Identifier: Apache-2.0
// Order of the inputs, outputs and attributes of the training operators, as op_info has it, and what their
// tilings read of a call alike.
#pragma once

#include "op_call.h"
#include "select_tiling.h"

namespace ms_nsa {

namespace select_input {
enum : size_t { kQuery, kKey, kValue, kTopkIndices, kAttenMask, kActualSeqQlen, kActualSeqKvlen };
}
namespace select_grad_input {
enum : size_t {
  kGrad,
  kQuery,
  kKey,
  kValue,
  kAttentionOut,
  kSoftmaxMax,
  kSoftmaxSum,
  kTopkIndices,
  kAttenMask,
  kActualSeqLens,
  kSoftmaxMaxGrad,
  kSoftmaxSumGrad
};
}
namespace select_attribute {
enum : size_t {
  kHeadNum,
  kSelectBlockSize,
  kSelectBlockCount,
  kSparseMode,
  kDefaultScale,
  kScaleValue,
  kDebug
};
}

// The inputs that both operators have, by their places in one of them.
struct SelectPlaces {
  size_t query, key, value, topk_indices, atten_mask;
};

void DefineSelectAttributes(ops::OpDef& op);

// The sentence for what the tiling itself cannot see: ranks, and extents that attributes repeat.
std::string CheckSelectCall(const char* op, const TilingCall& call, const SelectPlaces& at);

// All but the lengths.
SelectShapes ReadSelectShapes(const TilingCall& call, const SelectPlaces& at);

}  // namespace ms_nsa
