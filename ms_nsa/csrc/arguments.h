// SPDX-License-Identifier: Apache-2.0
// Shapes, dtypes and attributes of a call: every rule that needs no tensor values, and the step from checked
// arguments to the kernels' parameters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "params.h"

namespace ms_nsa {

// Rank of the empty tensor that stands for None (primitives.py): far from any that an input may have, so that
// every tensor a user gives is checked, an empty one too.
constexpr size_t kAbsentRank = 7;

struct Tensor {
  std::vector<int64_t> shape;
  std::string dtype;  // MindSpore's name, e.g. "bfloat16"; empty where it is not known (shape inference)
  const void* data = nullptr;  // nullptr while only shapes are checked

  int64_t size() const;
  static Tensor Absent() { return {std::vector<int64_t>(kAbsentRank, 0), "", nullptr}; }
  bool absent() const { return shape == std::vector<int64_t>(kAbsentRank, 0); }
};

struct Attributes {
  int64_t head_num = 0;
  int64_t key_value_head_num = 0;  // inference only
  int64_t select_block_size = 0;
  int64_t select_block_count = 0;
  int64_t page_block_size = 0;  // inference only
  int64_t sparse_mode = 0;
  bool default_scale = false;  // scale_value is 1 / sqrt(D1)
  float scale_value = 0;
  bool return_softmax_lse = false;  // inference only
  std::string layout;               // inference only: BSH, BSND or TND
  std::string limits;               // see limits.h
};

// Operator names; the table of inputs that follows each is in the order of op_info/<operator>.json.
constexpr char kForwardName[] = "NsaSelectAttention";
constexpr char kGradName[] = "NsaSelectAttentionGrad";
constexpr char kInferName[] = "NsaSelectedAttentionInfer";

namespace forward_input {
enum { kQuery, kKey, kValue, kTopkIndices, kAttenMask, kActualSeqQlen, kActualSeqKvlen, kCount };
}
namespace grad_input {
enum {
  kGrad,
  kQuery,
  kKey,
  kValue,
  kAttentionOut,
  kSoftmaxMax,
  kSoftmaxSum,
  kTopkIndices,
  kAttenMask,
  kActualSeqQlen,
  kActualSeqKvlen,
  kSoftmaxMaxGrad,
  kSoftmaxSumGrad,
  kCount
};
}
namespace infer_input {
enum { kQuery, kKey, kValue, kTopkIndices, kAttenMask, kBlockTable, kActualSeqQlen, kActualSeqKvlen, kCount };
}

using Shape = std::vector<int64_t>;
using Shapes = std::vector<Shape>;

// Throws ArgumentError unless ranks and extents fit; returns the output shapes. Dtypes need no rule here:
// MindSpore hands over only the combinations that are registered from op_info.
Shapes CheckShapes(const std::string& op, const Attributes&, const std::vector<Tensor>& in);

// Owns what the parameters point to and the call's tensors do not hold.
struct ForwardCall {
  SelectAttentionParams params{};
  std::vector<int64_t> whole;  // {t1, t2}: the one sequence that absent lengths mean
};
struct GradCall {
  SelectAttentionGradParams params{};
  std::vector<int64_t> whole;
};
struct InferCall {
  PagedAttentionParams params{};
  std::vector<int64_t> query_start, q_len;
  bool token_mask = false;  // atten_mask is [B, S, S]
  int64_t s = 0;            // tokens a sequence can hold: S of BSH and BSND, T of TND
};

// From checked inputs; outputs and the values behind the lengths are the caller's and validate.h's business.
void FillForward(const Attributes&, const std::vector<Tensor>&, ForwardCall*);
void FillGrad(const Attributes&, const std::vector<Tensor>&, GradCall*);
void FillInfer(const Attributes&, const std::vector<Tensor>&, InferCall*);

}  // namespace ms_nsa
