// SPDX-License-Identifier: Apache-2.0
// Registration of MsNsaSelectAttentionGrad. The lengths come as one: those of the queries, then those of the
// keys.
#include "select_grad_op.h"

namespace ms_nsa {
namespace {

using namespace select_grad_input;

constexpr size_t kGradients = 3;
constexpr size_t kLikeGradient[kGradients] = {kQuery, kKey, kValue};  // dq, dk, dv

ge::graphStatus InferSelectGradShape(gert::InferShapeContext* context) {
  for (size_t i = 0; i < kGradients; ++i) {
    const gert::Shape* like = context->GetInputShape(kLikeGradient[i]);
    if (like == nullptr) return Refuse("MsNsaSelectAttentionGrad: query, key and value must be given");
    *context->GetOutputShape(i) = *like;
  }
  *context->GetOutputShape(kGradients) = FirstErrorShape();
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus InferSelectGradType(gert::InferDataTypeContext* context) {
  for (size_t i = 0; i < kGradients; ++i)
    context->SetOutputDataType(i, context->GetInputDataType(kLikeGradient[i]));
  context->SetOutputDataType(kGradients, ge::DT_INT64);
  return ge::GRAPH_SUCCESS;
}

}  // namespace
}  // namespace ms_nsa

namespace ops {

class MsNsaSelectAttentionGrad : public OpDef {
 public:
  explicit MsNsaSelectAttentionGrad(const char* name) : OpDef(name) {
    using namespace ms_nsa;
    DefineInput(*this, "grad", REQUIRED, QueryTypes());
    DefineInput(*this, "query", REQUIRED, QueryTypes());
    DefineInput(*this, "key", REQUIRED, QueryTypes());
    DefineInput(*this, "value", REQUIRED, QueryTypes());
    DefineInput(*this, "attention_out", REQUIRED, QueryTypes());
    DefineInput(*this, "softmax_max", REQUIRED, Always(ge::DT_FLOAT));
    DefineInput(*this, "softmax_sum", REQUIRED, Always(ge::DT_FLOAT));
    DefineInput(*this, "topk_indices", REQUIRED, Always(ge::DT_INT32));
    DefineInput(*this, "atten_mask", OPTIONAL, MaskTypes());
    DefineInput(*this, "actual_seq_lens", OPTIONAL, Always(ge::DT_INT64));
    DefineInput(*this, "softmax_max_grad", OPTIONAL, Always(ge::DT_FLOAT));
    DefineInput(*this, "softmax_sum_grad", OPTIONAL, Always(ge::DT_FLOAT));
    DefineOutput(*this, "dq", QueryTypes());
    DefineOutput(*this, "dk", QueryTypes());
    DefineOutput(*this, "dv", QueryTypes());
    DefineOutput(*this, "first_error", Always(ge::DT_INT64));
    DefineSelectAttributes(*this);
    SetInferShape(InferSelectGradShape).SetInferDataType(InferSelectGradType);
    AICore().SetTiling(TilingSelectGrad).AddConfig("ascend910b");
    AICore().AddConfig("ascend910_93");
  }
};
OP_ADD(MsNsaSelectAttentionGrad);

}  // namespace ops
