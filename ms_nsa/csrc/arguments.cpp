// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <cmath>

#include "argument_checker.h"
#include "errors.h"
#include "limits.h"

namespace ms_nsa {
namespace {

// What forward and gradient share.
struct SelectTensors {
  const Tensor &query, &key, &value, &topk_indices, &atten_mask, &actual_seq_qlen, &actual_seq_kvlen;
};

SelectTensors OfForward(const std::vector<Tensor>& in) {
  using namespace forward_input;
  return {in[kQuery],     in[kKey],           in[kValue],         in[kTopkIndices],
          in[kAttenMask], in[kActualSeqQlen], in[kActualSeqKvlen]};
}

SelectTensors OfGrad(const std::vector<Tensor>& in) {
  using namespace grad_input;
  return {in[kQuery],     in[kKey],           in[kValue],         in[kTopkIndices],
          in[kAttenMask], in[kActualSeqQlen], in[kActualSeqKvlen]};
}

void CheckAttributes(const Checker& check, const Attributes& attributes) {
  check.Positive("head_num", attributes.head_num);
  check.Positive("select_block_size", attributes.select_block_size);
  check.Positive("select_block_count", attributes.select_block_count);
}

void CheckSelectBatch(const Checker& check, const SelectTensors& in) {
  check.SomeLengths("actual_seq_qlen", in.actual_seq_qlen);
  check.SomeLengths("actual_seq_kvlen", in.actual_seq_kvlen);
  const auto entries = [](const Tensor& lengths) { return lengths.absent() ? int64_t{1} : lengths.size(); };
  check.Equal("actual_seq_kvlen", "have as many entries as actual_seq_qlen", entries(in.actual_seq_qlen),
              entries(in.actual_seq_kvlen));
}

void CheckSelect(const char* op, const Attributes& attributes, const SelectTensors& in) {
  const Checker check(op);
  CheckAttributes(check, attributes);
  check.Rank("query", in.query, 3, "[T1, N1, D1]");
  check.Rank("key", in.key, 3, "[T2, N2, D1]");
  check.Rank("value", in.value, 3, "[T2, N2, D2]");
  const int64_t t1 = in.query.shape[0], n1 = in.query.shape[1], d1 = in.query.shape[2];
  const int64_t t2 = in.key.shape[0], n2 = in.key.shape[1], d2 = in.value.shape[2];
  check.Equal("head_num", "equal N1 of query", n1, attributes.head_num);
  check.Positive("N2 of key", n2);
  check.Positive("D1 of query", d1);
  check.Positive("D2 of value", d2);
  check.Multiple(n1, n2, "N2 of key");
  check.Shape("key", in.key, "[T2, N2, D1]", {t2, n2, d1});
  check.Shape("value", in.value, "[T2, N2, D2]", {t2, n2, d2});
  check.Shape("topk_indices", in.topk_indices, "[T1, N2, select_block_count]",
              {t1, n2, attributes.select_block_count});
  check.Mask(in.atten_mask);
  check.MaskCovers(in.atten_mask, t1, t2);
  CheckSelectBatch(check, in);
  const int64_t batch = in.actual_seq_qlen.absent() ? 1 : in.actual_seq_qlen.size();
  CheckLimits(op, attributes.limits,
              {{"B", batch},
               {"N2", n2},
               {"G", n1 / n2},
               {"D1", d1},
               {"D2", d2},
               {"select_block_size", attributes.select_block_size},
               {"select_block_count", attributes.select_block_count}});
}

DType DtypeOf(const std::string& dtype) {
  if (dtype == "float16") return DType::kFloat16;
  return dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32;
}

template <typename T>
const T* Data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data);
}

template <typename T>
const T* GivenData(const Tensor& tensor) {
  return tensor.absent() ? nullptr : Data<T>(tensor);
}

// nullptr for an absent mask only: a given one without elements may come with no memory, and is checked.
const uint8_t* MaskData(const Tensor& mask) {
  static constexpr uint8_t kNoElement = 0;
  if (mask.absent()) return nullptr;
  return mask.data == nullptr ? &kNoElement : Data<uint8_t>(mask);
}

float ScaleOf(const Attributes& attributes, int64_t d1) {
  return attributes.default_scale ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(d1)))
                                  : attributes.scale_value;
}

void FillSelect(const Attributes& attributes, const SelectTensors& in, std::vector<int64_t>* whole,
                SelectAttentionInputs* out) {
  out->query = in.query.data;
  out->key = in.key.data;
  out->value = in.value.data;
  out->topk_indices = Data<int32_t>(in.topk_indices);
  out->atten_mask = MaskData(in.atten_mask);
  out->atten_mask_cols = in.atten_mask.absent() ? 0 : in.atten_mask.shape[1];
  out->t1 = in.query.shape[0], out->n1 = in.query.shape[1], out->d1 = in.query.shape[2];
  out->t2 = in.key.shape[0], out->n2 = in.key.shape[1], out->d2 = in.value.shape[2];
  *whole = {out->t1, out->t2};
  out->actual_seq_qlen = in.actual_seq_qlen.absent() ? &(*whole)[0] : Data<int64_t>(in.actual_seq_qlen);
  out->actual_seq_kvlen = in.actual_seq_kvlen.absent() ? &(*whole)[1] : Data<int64_t>(in.actual_seq_kvlen);
  out->batch = in.actual_seq_qlen.absent() ? 1 : in.actual_seq_qlen.size();
  out->select_block_size = attributes.select_block_size;
  out->select_block_count = attributes.select_block_count;
  out->scale_value = ScaleOf(attributes, out->d1);
  out->dtype = DtypeOf(in.query.dtype);
  out->sparse_mode = static_cast<SparseMode>(attributes.sparse_mode);
}

}  // namespace

int64_t Tensor::size() const {
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  return size;
}

static Shapes CheckForward(const Attributes& attributes, const std::vector<Tensor>& in) {
  const SelectTensors select = OfForward(in);
  CheckSelect(kForwardName, attributes, select);
  const int64_t t1 = select.query.shape[0], n1 = select.query.shape[1];
  return {{t1, n1, select.value.shape[2]}, {t1, n1, kStatLanes}, {t1, n1, kStatLanes}};
}

static Shapes CheckGrad(const Attributes& attributes, const std::vector<Tensor>& in) {
  const SelectTensors select = OfGrad(in);
  CheckSelect(kGradName, attributes, select);
  const Checker check(kGradName);
  const int64_t t1 = select.query.shape[0], n1 = select.query.shape[1], d2 = select.value.shape[2];
  using namespace grad_input;
  check.Shape("grad", in[kGrad], "[T1, N1, D2]", {t1, n1, d2});
  check.Shape("attention_out", in[kAttentionOut], "[T1, N1, D2]", {t1, n1, d2});
  check.Shape("softmax_max", in[kSoftmaxMax], "[T1, N1, 8]", {t1, n1, kStatLanes});
  check.Shape("softmax_sum", in[kSoftmaxSum], "[T1, N1, 8]", {t1, n1, kStatLanes});
  if (!in[kSoftmaxMaxGrad].absent())
    check.Shape("softmax_max_grad", in[kSoftmaxMaxGrad], "[T1, N1, 8]", {t1, n1, kStatLanes});
  if (!in[kSoftmaxSumGrad].absent())
    check.Shape("softmax_sum_grad", in[kSoftmaxSumGrad], "[T1, N1, 8]", {t1, n1, kStatLanes});
  return {select.query.shape, select.key.shape, select.value.shape};
}

void FillForward(const Attributes& attributes, const std::vector<Tensor>& in, ForwardCall* call) {
  FillSelect(attributes, OfForward(in), &call->whole, &call->params.in);
}

void FillGrad(const Attributes& attributes, const std::vector<Tensor>& in, GradCall* call) {
  FillSelect(attributes, OfGrad(in), &call->whole, &call->params.in);
  call->params.grad = in[grad_input::kGrad].data;
  call->params.attention_out = in[grad_input::kAttentionOut].data;
  call->params.softmax_max = Data<float>(in[grad_input::kSoftmaxMax]);
  call->params.softmax_sum = Data<float>(in[grad_input::kSoftmaxSum]);
  call->params.softmax_max_grad = GivenData<float>(in[grad_input::kSoftmaxMaxGrad]);
  call->params.softmax_sum_grad = GivenData<float>(in[grad_input::kSoftmaxSumGrad]);
}

namespace {

// Extents of an inference call, read from the query's layout.
struct InferExtents {
  int64_t batch, s, tokens, d1;
};

void CheckLayout(const std::string& layout) {
  if (layout != "BSH" && layout != "BSND" && layout != "TND") {
    Fail(kInferName, "layout", "be BSH, BSND or TND", layout);
  }
}

InferExtents ReadQuery(const Checker& check, const Attributes& attributes, const Tensor& query,
                       const Tensor& lengths) {
  const std::vector<int64_t>& shape = query.shape;
  const int64_t n1 = attributes.head_num;
  if (attributes.layout == "TND") {
    check.Rank("query", query, 3, "[T, N1, D1]");
    check.Equal("N1 of query", "equal head_num", n1, shape[1]);
    return {lengths.absent() ? shape[0] : lengths.size(), shape[0], shape[0], shape[2]};
  }
  if (attributes.layout == "BSND") {
    check.Rank("query", query, 4, "[B, S, N1, D1]");
    check.Equal("N1 of query", "equal head_num", n1, shape[2]);
    return {shape[0], shape[1], shape[0] * shape[1], shape[3]};
  }
  check.Rank("query", query, 3, "[B, S, N1 * D1]");
  if (shape[2] % n1 != 0)
    Fail(kInferName, "H of query", Join("be a multiple of head_num (", n1, ")"), Join(shape[2]));
  return {shape[0], shape[1], shape[0] * shape[1], shape[2] / n1};
}

// Width of a cache row's head: key and value are [num_blocks, P, N2, D] in BSND, [num_blocks, P, N2 * D]
// otherwise.
int64_t ReadCache(const Checker& check, const Attributes& attributes, const char* name, const char* h_name,
                  const Tensor& cache) {
  const int64_t n2 = attributes.key_value_head_num;
  const bool split = attributes.layout == "BSND";
  check.Rank(name, cache, split ? 4 : 3,
             split ? "[num_blocks, page_block_size, N2, D]" : "[num_blocks, page_block_size, N2 * D]");
  if (cache.shape[1] != attributes.page_block_size) {
    Fail(kInferName, name, Join("have pages of page_block_size = ", attributes.page_block_size, " rows"),
         "shape " + Text(cache.shape));
  }
  if (split) check.Equal(Join("N2 of ", name).c_str(), "equal key_value_head_num", n2, cache.shape[2]);
  const int64_t h = split ? cache.shape[2] * cache.shape[3] : cache.shape[2];
  if (h % n2 != 0) Fail(kInferName, h_name, Join("be a multiple of key_value_head_num (", n2, ")"), Join(h));
  return h / n2;
}

void CheckTopk(const Checker& check, const Attributes& attributes, const InferExtents& extents,
               const Tensor& topk) {
  const int64_t n2 = attributes.key_value_head_num, count = attributes.select_block_count;
  if (attributes.layout == "TND") {
    check.Shape("topk_indices", topk, "[T, N2, select_block_count]", {extents.tokens, n2, count});
  } else if (topk.shape.size() == 3 && extents.s == 1) {
    check.Shape("topk_indices", topk, "[B, N2, select_block_count]", {extents.batch, n2, count});
  } else {
    check.Shape("topk_indices", topk, "[B, S, N2, select_block_count]",
                {extents.batch, extents.s, n2, count});
  }
}

void CheckInferLengths(const Checker& check, const Attributes& attributes, const InferExtents& extents,
                       const Tensor& qlen, const Tensor& kvlen) {
  const char* wanted = attributes.layout == "TND" ? "have one entry per sequence: B"
                                                  : "have one entry per sequence: B of query";
  if (!qlen.absent()) check.Equal("actual_seq_qlen", wanted, extents.batch, qlen.size());
  check.Equal("actual_seq_kvlen", wanted, extents.batch, kvlen.size());
}

// One mask of all sequences, or one of each over its new tokens.
void CheckInferMask(const Checker& check, int64_t batch, const Tensor& mask) {
  if (mask.absent() || mask.shape.size() == 2) return;
  if (mask.shape.size() != 3) {
    Fail(kInferName, "atten_mask", "have rank 2 [max Sq, max Sk] or 3 [B, S, S]",
         "shape " + Text(mask.shape));
  }
  check.Equal("B of atten_mask", "equal the number of sequences", batch, mask.shape[0]);
}

std::vector<int64_t> InferOutShape(const Attributes& attributes, const InferExtents& extents, int64_t d2) {
  const int64_t n1 = attributes.head_num;
  if (attributes.layout == "TND") return {extents.tokens, n1, d2};
  if (attributes.layout == "BSND") return {extents.batch, extents.s, n1, d2};
  return {extents.batch, extents.s, n1 * d2};
}

Shape InferStatisticsShape(const Attributes& attributes, const InferExtents& extents) {
  if (attributes.layout == "TND") return {extents.tokens, attributes.head_num, kStatLanes};
  return {extents.batch, extents.s, attributes.head_num, kStatLanes};
}

}  // namespace

static Shapes CheckInfer(const Attributes& attributes, const std::vector<Tensor>& in) {
  using namespace infer_input;
  const Checker check(kInferName);
  CheckLayout(attributes.layout);
  CheckAttributes(check, attributes);
  check.Positive("key_value_head_num", attributes.key_value_head_num);
  check.Positive("page_block_size", attributes.page_block_size);
  check.Multiple(attributes.head_num, attributes.key_value_head_num, "key_value_head_num");
  check.Lengths("actual_seq_qlen", in[kActualSeqQlen]);
  check.Lengths("actual_seq_kvlen", in[kActualSeqKvlen]);
  const InferExtents extents = ReadQuery(check, attributes, in[kQuery], in[kActualSeqQlen]);
  const int64_t d1 = ReadCache(check, attributes, "key", "H of key", in[kKey]);
  const int64_t d2 = ReadCache(check, attributes, "value", "H of value", in[kValue]);
  check.Positive("D1 of query", extents.d1);
  check.Positive("D2 of value", d2);
  check.Equal("D1 of key", "equal D1 of query", extents.d1, d1);
  check.Equal("num_blocks of value", "equal num_blocks of key", in[kKey].shape[0], in[kValue].shape[0]);
  CheckTopk(check, attributes, extents, in[kTopkIndices]);
  CheckInferMask(check, extents.batch, in[kAttenMask]);
  check.Rank("block_table", in[kBlockTable], 2, "[B, max_blocks]");
  check.Equal("B of block_table", "equal the number of sequences", extents.batch, in[kBlockTable].shape[0]);
  CheckInferLengths(check, attributes, extents, in[kActualSeqQlen], in[kActualSeqKvlen]);
  Quantities quantities{{"B", extents.batch},
                        {"N2", attributes.key_value_head_num},
                        {"D1", d1},
                        {"D2", d2},
                        {"G", attributes.head_num / attributes.key_value_head_num},
                        {"page_block_size", attributes.page_block_size},
                        {"select_block_size", attributes.select_block_size},
                        {"select_block_count", attributes.select_block_count}};
  if (!in[kAttenMask].absent()) {
    quantities.push_back({"atten_mask_rank", static_cast<int64_t>(in[kAttenMask].shape.size())});
  }
  if (attributes.layout != "TND") quantities.push_back({"S", extents.s});
  CheckLimits(kInferName, attributes.limits, quantities);
  const Shape out = InferOutShape(attributes, extents, d2);
  if (!attributes.return_softmax_lse) return {out};
  const Shape statistics = InferStatisticsShape(attributes, extents);
  return {out, statistics, statistics};
}

void FillInfer(const Attributes& attributes, const std::vector<Tensor>& in, InferCall* call) {
  using namespace infer_input;
  PagedAttentionParams& out = call->params;
  const InferExtents extents = ReadQuery(Checker(kInferName), attributes, in[kQuery], in[kActualSeqQlen]);
  out.query = in[kQuery].data;
  out.key = in[kKey].data;
  out.value = in[kValue].data;
  out.topk_indices = Data<int32_t>(in[kTopkIndices]);
  out.block_table = Data<int32_t>(in[kBlockTable]);
  const Tensor& mask = in[kAttenMask];
  out.atten_mask = MaskData(mask);
  call->token_mask = mask.shape.size() == 3;
  out.atten_mask_rows = call->token_mask ? mask.shape[1] : 0;
  out.atten_mask_cols = mask.absent() ? 0 : mask.shape.back();
  out.kv_len = Data<int64_t>(in[kActualSeqKvlen]);
  out.batch = extents.batch, out.tokens = extents.tokens, out.d1 = extents.d1;
  out.n1 = attributes.head_num, out.n2 = attributes.key_value_head_num;
  out.num_blocks = in[kKey].shape[0], out.page_block_size = attributes.page_block_size;
  out.d2 = in[kValue].shape.back() / (attributes.layout == "BSND" ? 1 : out.n2);
  out.max_blocks = in[kBlockTable].shape[1];
  out.select_block_size = attributes.select_block_size;
  out.select_block_count = attributes.select_block_count;
  out.scale_value = ScaleOf(attributes, out.d1);
  out.dtype = DtypeOf(in[kQuery].dtype);
  out.sparse_mode = static_cast<SparseMode>(attributes.sparse_mode);
  call->s = extents.s;
  const int64_t each = attributes.layout == "TND" ? 1 : extents.s;
  const int64_t* given = Data<int64_t>(in[kActualSeqQlen]);
  for (int64_t b = 0; b < extents.batch; ++b)
    call->q_len.push_back(in[kActualSeqQlen].absent() ? each : given[b]);
}

Shapes CheckShapes(const std::string& op, const Attributes& attributes, const std::vector<Tensor>& in) {
  if (op == kForwardName) return CheckForward(attributes, in);
  if (op != kGradName) return CheckInfer(attributes, in);
  std::vector<Tensor> all = in;  // on Ascend the last ones are not there
  all.resize(grad_input::kCount, Tensor::Absent());
  return CheckGrad(attributes, all);
}

}  // namespace ms_nsa
