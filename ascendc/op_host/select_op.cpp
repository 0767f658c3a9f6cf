// SPDX-License-Identifier: Apache-2.0
// Registration of MsNsaSelectAttention.
#include "select_op.h"

namespace ms_nsa {

void DefineSelectAttributes(ops::OpDef& op) {
  DefineInts(op, {"head_num", "select_block_size", "select_block_count", "sparse_mode", "default_scale"});
  op.Attr("scale_value").AttrType(ops::REQUIRED).Float();
  DefineInts(op, {"debug"});
}

std::string CheckSelectCall(const char* op, const TilingCall& call, const SelectPlaces& at) {
  const auto rank = [&call](size_t input) { return static_cast<int64_t>(call.Rank(input)); };
  const int64_t n1 = call.Extent(at.query, 1), count = call.Extent(at.topk_indices, 2);
  return FirstBroken(
      op, {
              {rank(at.query) == 3, "query", "have rank 3", rank(at.query)},
              {rank(at.key) == 3, "key", "have rank 3", rank(at.key)},
              {rank(at.value) == 3, "value", "have rank 3", rank(at.value)},
              {rank(at.topk_indices) == 3, "topk_indices", "have rank 3", rank(at.topk_indices)},
              {call.MayHaveRank(at.atten_mask, 2), "atten_mask", "have rank 2", rank(at.atten_mask)},
              {call.MayCover(at.atten_mask, 0, call.Extent(at.query, 0)), "atten_mask",
               "cover [max Sq, max Sk]; its rows", 0},
              {call.MayCover(at.atten_mask, 1, call.Extent(at.key, 0)), "atten_mask",
               "cover [max Sq, max Sk]; its columns", 0},
              {call.Int(select_attribute::kHeadNum) == n1, "head_num", "equal N1 of query",
               call.Int(select_attribute::kHeadNum)},
              {call.Int(select_attribute::kSelectBlockCount) == count, "select_block_count",
               "equal the last extent of topk_indices", call.Int(select_attribute::kSelectBlockCount)},
          });
}

SelectShapes ReadSelectShapes(const TilingCall& call, const SelectPlaces& at) {
  SelectShapes shapes{};
  AttentionShapes& attention = shapes.attention;
  attention.head_num = call.Extent(at.query, 1);
  attention.key_value_head_num = call.Extent(at.key, 1);
  attention.d1 = call.Extent(at.query, 2);
  attention.d2 = call.Extent(at.value, 2);
  attention.select_block_size = call.Int(select_attribute::kSelectBlockSize);
  attention.select_block_count = call.Int(select_attribute::kSelectBlockCount);
  attention.atten_mask_rows = call.Extent(at.atten_mask, 0);
  attention.atten_mask_cols = call.Extent(at.atten_mask, 1);
  attention.sparse_mode = call.Int(select_attribute::kSparseMode);
  attention.default_scale = call.Int(select_attribute::kDefaultScale) != 0;
  attention.scale_value = call.Float(select_attribute::kScaleValue);
  attention.debug = call.Int(select_attribute::kDebug) != 0;
  shapes.t1 = call.Extent(at.query, 0);
  shapes.t2 = call.Extent(at.key, 0);
  shapes.batch = 1;
  return shapes;
}

namespace {

using namespace select_input;

ge::graphStatus InferSelectShape(gert::InferShapeContext* context) {
  const gert::Shape *query = context->GetInputShape(kQuery), *value = context->GetInputShape(kValue);
  if (query == nullptr || value == nullptr || query->GetDimNum() != 3 || value->GetDimNum() != 3) {
    return Refuse("MsNsaSelectAttention: query and value must have rank 3");
  }
  const int64_t last[] = {value->GetDim(2), kStatLanes, kStatLanes};
  for (size_t i = 0; i < 3; ++i) {
    *context->GetOutputShape(i) = *query;
    context->GetOutputShape(i)->SetDim(2, last[i]);
  }
  *context->GetOutputShape(3) = FirstErrorShape();
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus InferSelectType(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(kQuery));
  context->SetOutputDataType(1, ge::DT_FLOAT);
  context->SetOutputDataType(2, ge::DT_FLOAT);
  context->SetOutputDataType(3, ge::DT_INT64);
  return ge::GRAPH_SUCCESS;
}

std::string CheckLengths(const char* op, const TilingCall& call) {
  const auto rank = [&call](size_t input) { return static_cast<int64_t>(call.Rank(input)); };
  const auto entries = [&call](size_t input) {
    return call.Given(input) ? call.Extent(input, 0) : int64_t{1};
  };
  const int64_t queries = entries(kActualSeqQlen), keys = entries(kActualSeqKvlen);
  return FirstBroken(
      op,
      {
          {call.MayHaveRank(kActualSeqQlen, 1), "actual_seq_qlen", "have rank 1", rank(kActualSeqQlen)},
          {call.MayHaveRank(kActualSeqKvlen, 1), "actual_seq_kvlen", "have rank 1", rank(kActualSeqKvlen)},
          {queries > 0, "actual_seq_qlen", "hold at least one length; its entries", queries},
          {keys == queries, "actual_seq_kvlen", "have as many entries as actual_seq_qlen", keys},
      });
}

ge::graphStatus TilingSelect(gert::TilingContext* context) {
  const TilingCall call(context);
  const SelectPlaces at{kQuery, kKey, kValue, kTopkIndices, kAttenMask};
  std::string error = CheckSelectCall("MsNsaSelectAttention", call, at);
  if (error.empty()) error = CheckLengths("MsNsaSelectAttention", call);
  if (!error.empty()) return Refuse(error);
  SelectShapes shapes = ReadSelectShapes(call, at);
  shapes.has_q_lens = call.Given(kActualSeqQlen);
  shapes.has_kv_lens = call.Given(kActualSeqKvlen);
  if (shapes.has_q_lens) shapes.batch = call.Extent(kActualSeqQlen, 0);
  return Submit(TileSelect(shapes, AicCores(context)), context);
}

}  // namespace
}  // namespace ms_nsa

namespace ops {

class MsNsaSelectAttention : public OpDef {
 public:
  explicit MsNsaSelectAttention(const char* name) : OpDef(name) {
    using namespace ms_nsa;
    DefineInput(*this, "query", REQUIRED, QueryTypes());
    DefineInput(*this, "key", REQUIRED, QueryTypes());
    DefineInput(*this, "value", REQUIRED, QueryTypes());
    DefineInput(*this, "topk_indices", REQUIRED, Always(ge::DT_INT32));
    DefineInput(*this, "atten_mask", OPTIONAL, MaskTypes());
    DefineInput(*this, "actual_seq_qlen", OPTIONAL, Always(ge::DT_INT64));
    DefineInput(*this, "actual_seq_kvlen", OPTIONAL, Always(ge::DT_INT64));
    DefineOutput(*this, "attention_out", QueryTypes());
    DefineOutput(*this, "softmax_max", Always(ge::DT_FLOAT));
    DefineOutput(*this, "softmax_sum", Always(ge::DT_FLOAT));
    DefineOutput(*this, "first_error", Always(ge::DT_INT64));
    DefineSelectAttributes(*this);
    SetInferShape(InferSelectShape).SetInferDataType(InferSelectType);
    AICore().SetTiling(TilingSelect).AddConfig("ascend910b");
    AICore().AddConfig("ascend910_93");
  }
};
OP_ADD(MsNsaSelectAttention);

}  // namespace ops
