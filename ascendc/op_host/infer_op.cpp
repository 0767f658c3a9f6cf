// SPDX-License-Identifier: Apache-2.0
// Registration of MsNsaSelectedAttentionInfer.
#include "infer_tiling.h"
#include "op_call.h"

namespace ms_nsa {
namespace {

constexpr const char* kOp = "MsNsaSelectedAttentionInfer";

namespace infer_input {
enum : size_t {
  kQuery,
  kKey,
  kValue,
  kTopkIndices,
  kAttenMask,
  kBlockTable,
  kActualSeqQlen,
  kActualSeqKvlen
};
}
namespace infer_attribute {
enum : size_t {
  kHeadNum,
  kKeyValueHeadNum,
  kSelectBlockSize,
  kSelectBlockCount,
  kPageBlockSize,
  kSparseMode,
  kDefaultScale,
  kScaleValue,
  kLayout,
  kReturnSoftmaxLse,
  kDebug
};
}

using namespace infer_input;

// Extents of the heads in a layout: BSND splits them off, BSH and the caches of BSH and TND do not.
int64_t Width(int64_t last, bool split, int64_t heads) {
  return split || heads < 1 ? last : last / heads;
}

ge::graphStatus InferInferShape(gert::InferShapeContext* context) {
  const gert::Shape *query = context->GetInputShape(kQuery), *value = context->GetInputShape(kValue);
  const gert::RuntimeAttrs* attributes = context->GetAttrs();
  if (query == nullptr || value == nullptr || attributes == nullptr || query->GetDimNum() < 3 ||
      value->GetDimNum() < 3) {
    return Refuse(std::string(kOp) + ": query and value must have rank 3 or 4");
  }
  const auto get = [attributes](size_t i) { return *attributes->GetAttrPointer<int64_t>(i); };
  const Layout layout = static_cast<Layout>(get(infer_attribute::kLayout));
  const int64_t last = value->GetDim(value->GetDimNum() - 1);
  const int64_t d2 = Width(last, layout == Layout::kBsnd, get(infer_attribute::kKeyValueHeadNum));
  gert::Shape* out = context->GetOutputShape(0);
  *out = *query;
  out->SetDim(out->GetDimNum() - 1, layout == Layout::kBsh ? get(infer_attribute::kHeadNum) * d2 : d2);
  const int64_t n1 = get(infer_attribute::kHeadNum);
  const gert::Shape packed({query->GetDim(0), n1, kStatLanes});
  const gert::Shape padded({query->GetDim(0), query->GetDim(1), n1, kStatLanes});
  for (size_t i = 1; i <= 2; ++i) *context->GetOutputShape(i) = layout == Layout::kTnd ? packed : padded;
  *context->GetOutputShape(3) = FirstErrorShape();
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus InferInferType(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(kQuery));
  context->SetOutputDataType(1, ge::DT_FLOAT);
  context->SetOutputDataType(2, ge::DT_FLOAT);
  context->SetOutputDataType(3, ge::DT_INT64);
  return ge::GRAPH_SUCCESS;
}

// The mask and the lengths. Rows of pages are what keys there may be.
std::string CheckOptional(const TilingCall& call, bool batched) {
  const int64_t batch = call.Extent(kBlockTable, 0), tokens = call.Extent(kQuery, 0);
  const int64_t queries = batched ? tokens * call.Extent(kQuery, 1) : tokens;
  const int64_t keys = call.Extent(kKey, 0) * call.Extent(kBlockTable, 1);
  const int64_t q_lens = call.Extent(kActualSeqQlen, 0), kv_lens = call.Extent(kActualSeqKvlen, 0);
  const auto rank = [&call](size_t input) { return static_cast<int64_t>(call.Rank(input)); };
  const bool tokens_only = call.Rank(kAttenMask) == 3;  // a mask of each sequence, over its new tokens
  const int64_t masks = call.Extent(kAttenMask, 0);
  const char* rows = tokens_only ? "cover [B, max Sq, max Sq]; its rows" : "cover [max Sq, max Sk]; its rows";
  const char* columns =
      tokens_only ? "cover [B, max Sq, max Sq]; its columns" : "cover [max Sq, max Sk]; its columns";
  const char* entries = "have one entry per row of block_table";
  return FirstBroken(
      kOp, {
               {!tokens_only || masks == batch, "atten_mask", "have one mask per row of block_table", masks},
               {call.MayCover(kAttenMask, tokens_only, queries), "atten_mask", rows, 0},
               {call.MayCover(kAttenMask, tokens_only + 1, tokens_only ? queries : keys), "atten_mask",
                columns, 0},
               {call.MayHaveRank(kActualSeqQlen, 1), "actual_seq_qlen", "have rank 1", rank(kActualSeqQlen)},
               {rank(kActualSeqKvlen) == 1, "actual_seq_kvlen", "have rank 1", rank(kActualSeqKvlen)},
               {!call.Given(kActualSeqQlen) || q_lens == batch, "actual_seq_qlen", entries, q_lens},
               {kv_lens == batch, "actual_seq_kvlen", entries, kv_lens},
           });
}

std::string CheckCall(const TilingCall& call) {
  using namespace infer_attribute;
  const int64_t layout = call.Int(kLayout), page = call.Int(kPageBlockSize);
  const int64_t rank = layout == static_cast<int64_t>(Layout::kBsnd) ? 4 : 3;
  const char* rule = rank == 4 ? "have rank 4" : "have rank 3";
  const auto got = [&call](size_t input) { return static_cast<int64_t>(call.Rank(input)); };
  const std::string error = FirstBroken(
      kOp, {
               {layout >= 0 && layout <= 2, "layout", "be 0 (BSH), 1 (BSND) or 2 (TND)", layout},
               {got(kQuery) == rank, "query", rule, got(kQuery)},
               {got(kKey) == rank, "key", rule, got(kKey)},
               {got(kValue) == rank, "value", rule, got(kValue)},
               {got(kBlockTable) == 2, "block_table", "have rank 2", got(kBlockTable)},
               {call.Given(kActualSeqKvlen), "actual_seq_kvlen", "be given; its rank", got(kActualSeqKvlen)},
               {call.MayHaveRank(kAttenMask, 2) || got(kAttenMask) == 3, "atten_mask", "have rank 2 or 3",
                got(kAttenMask)},
               {call.Extent(kKey, 1) == page, "page_block_size", "equal the rows of a page of key", page},
               {call.Last(kTopkIndices) == call.Int(kSelectBlockCount), "select_block_count",
                "equal the last extent of topk_indices", call.Int(kSelectBlockCount)},
           });
  return error.empty() ? CheckOptional(call, rank == 4 || layout == 0) : error;
}

AttentionShapes ReadAttention(const TilingCall& call, Layout layout) {
  using namespace infer_attribute;
  AttentionShapes shapes{};
  shapes.head_num = call.Int(kHeadNum);
  shapes.key_value_head_num = call.Int(kKeyValueHeadNum);
  shapes.d1 = Width(call.Last(kQuery), layout != Layout::kBsh, shapes.head_num);
  shapes.d2 = Width(call.Last(kValue), layout == Layout::kBsnd, shapes.key_value_head_num);
  shapes.select_block_size = call.Int(kSelectBlockSize);
  shapes.select_block_count = call.Int(kSelectBlockCount);
  const size_t mask_rank = call.Rank(kAttenMask);
  shapes.atten_mask_rows = mask_rank > 0 ? call.Extent(kAttenMask, mask_rank - 2) : 0;
  shapes.atten_mask_cols = call.Last(kAttenMask);
  shapes.sparse_mode = call.Int(kSparseMode);
  shapes.default_scale = call.Int(kDefaultScale) != 0;
  shapes.scale_value = call.Float(kScaleValue);
  shapes.debug = call.Int(kDebug) != 0;
  return shapes;
}

ge::graphStatus TilingInfer(gert::TilingContext* context) {
  const TilingCall call(context);
  const std::string error = CheckCall(call);
  if (!error.empty()) return Refuse(error);
  const Layout layout = static_cast<Layout>(call.Int(infer_attribute::kLayout));
  InferShapes shapes{};
  shapes.attention = ReadAttention(call, layout);
  shapes.layout = layout;
  shapes.batch = call.Extent(kBlockTable, 0);
  shapes.leading[0] = call.Extent(kQuery, 0);
  shapes.leading[1] = layout == Layout::kTnd ? 1 : call.Extent(kQuery, 1);
  shapes.num_blocks = call.Extent(kKey, 0);
  shapes.page_block_size = call.Extent(kKey, 1);
  shapes.max_blocks = call.Extent(kBlockTable, 1);
  shapes.has_q_lens = call.Given(kActualSeqQlen);
  shapes.statistics = call.Int(infer_attribute::kReturnSoftmaxLse) != 0;
  shapes.token_mask = call.Rank(kAttenMask) == 3;
  return Submit(TileInfer(shapes, AicCores(context)), context);
}

}  // namespace
}  // namespace ms_nsa

namespace ops {

class MsNsaSelectedAttentionInfer : public OpDef {
 public:
  explicit MsNsaSelectedAttentionInfer(const char* name) : OpDef(name) {
    using namespace ms_nsa;
    DefineInput(*this, "query", REQUIRED, QueryTypes());
    DefineInput(*this, "key", REQUIRED, QueryTypes());
    DefineInput(*this, "value", REQUIRED, QueryTypes());
    DefineInput(*this, "topk_indices", REQUIRED, Always(ge::DT_INT32));
    DefineInput(*this, "atten_mask", OPTIONAL, MaskTypes());
    DefineInput(*this, "block_table", REQUIRED, Always(ge::DT_INT32));
    DefineInput(*this, "actual_seq_qlen", OPTIONAL, Always(ge::DT_INT64));
    DefineInput(*this, "actual_seq_kvlen", REQUIRED, Always(ge::DT_INT64));
    DefineOutput(*this, "attention_out", QueryTypes());
    DefineOutput(*this, "softmax_max", Always(ge::DT_FLOAT));  // these two filled if return_softmax_lse
    DefineOutput(*this, "softmax_sum", Always(ge::DT_FLOAT));
    DefineOutput(*this, "first_error", Always(ge::DT_INT64));
    DefineInts(*this, {"head_num", "key_value_head_num", "select_block_size", "select_block_count",
                       "page_block_size", "sparse_mode", "default_scale"});
    Attr("scale_value").AttrType(REQUIRED).Float();
    DefineInts(*this, {"layout", "return_softmax_lse", "debug"});
    SetInferShape(InferInferShape).SetInferDataType(InferInferType);
    AICore().SetTiling(TilingInfer).AddConfig("ascend910b");
    AICore().AddConfig("ascend910_93");
  }
};
OP_ADD(MsNsaSelectedAttentionInfer);

}  // namespace ops
