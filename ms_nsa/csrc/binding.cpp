// SPDX-License-Identifier: Apache-2.0
// The only file that knows MindSpore's calling convention, and the C functions that Python calls through
// ctypes.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "arguments.h"
#include "custom_aot.h"
#include "dispatch.h"
#include "errors.h"
#include "float_environment.h"
#include "long_call_team.h"
#include "progress.h"
#include "scratch_memory.h"
#include "short_calls.h"
#include "thread_number.h"
#include "validate.h"

#define MS_NSA_EXPORT extern "C" __attribute__((visibility("default")))

namespace ms_nsa {
namespace {

struct KernelData : AotKernelData {
  Attributes attributes;
};

Attributes ReadAttributes(AotExtra* extra, bool infer) {
  Attributes attributes;
  attributes.head_num = extra->GetAttrInt("head_num");
  attributes.select_block_size = extra->GetAttrInt("select_block_size");
  attributes.select_block_count = extra->GetAttrInt("select_block_count");
  attributes.sparse_mode = extra->GetAttrInt("sparse_mode");
  attributes.default_scale = extra->GetAttrInt("default_scale") != 0;
  attributes.scale_value = extra->GetAttrFloat("scale_value");
  attributes.limits = extra->GetAttrStr("limits");
  if (!infer) return attributes;
  attributes.key_value_head_num = extra->GetAttrInt("key_value_head_num");
  attributes.page_block_size = extra->GetAttrInt("page_block_size");
  attributes.layout = extra->GetAttrStr("layout");
  attributes.return_softmax_lse = extra->GetAttrInt("return_softmax_lse") != 0;
  return attributes;
}

std::vector<Tensor> ReadTensors(int count, void** params, int* ndims, int64_t** shapes, const char** dtypes) {
  std::vector<Tensor> tensors(count);
  for (int i = 0; i < count; ++i) {
    tensors[i].shape.assign(shapes[i], shapes[i] + ndims[i]);
    if (dtypes) tensors[i].dtype = dtypes[i];
    if (params) tensors[i].data = params[i];
  }
  return tensors;
}

bool Known(const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    for (int64_t extent : tensor.shape) {
      if (extent < 0) return false;
    }
  }
  return true;
}

// Runs a kernel with the threads that suit the length of the call; cache_rows bounds the rows that a token
// sees.
template <typename Params, typename Inputs>
void RunKernel(void (*kernel)(const Params&), Params& params, Inputs& in, const char* op, int64_t tokens,
               int64_t cache_rows) {
  const int64_t rows = std::min(in.select_block_size * in.select_block_count, cache_rows);
  const bool is_short = tokens * in.n2 < LongItems(op, in.n1 / in.n2, rows);
  in.max_threads = is_short ? std::min(ShortCallThreads(), Threads()) : 0;
  if (is_short) return kernel(params);
  const LongCallTeam team;
  kernel(params);
}

int64_t MaskRows(const Tensor& mask) {
  return mask.absent() ? 0 : mask.shape[0];
}

int Init(AotExtra* extra, bool infer) {
  auto data = std::make_unique<KernelData>();
  data->attributes = ReadAttributes(extra, infer);
  delete extra->kernel_data();  // a second call for new shapes
  extra->set_kernel_data(data.release());
  return 0;
}

const Attributes& AttributesOf(void* extra) {
  return static_cast<KernelData*>(static_cast<AotExtra*>(extra)->kernel_data())->attributes;
}

void RunForward(const Attributes& attributes, const std::vector<Tensor>& in, void** out) {
  CheckShapes(kForwardName, attributes, in);
  ForwardCall call;
  FillForward(attributes, in, &call);
  ValidateSelect(kForwardName, call.params.in, MaskRows(in[forward_input::kAttenMask]));
  call.params.attention_out = out[0];
  call.params.softmax_max = static_cast<float*>(out[1]);
  call.params.softmax_sum = static_cast<float*>(out[2]);
  RunKernel(Kernels().select_attention, call.params, call.params.in, kForwardName, call.params.in.t1,
            call.params.in.t2);
}

void RunGrad(const Attributes& attributes, const std::vector<Tensor>& in, void** out) {
  CheckShapes(kGradName, attributes, in);
  GradCall call;
  FillGrad(attributes, in, &call);
  ValidateSelect(kGradName, call.params.in, MaskRows(in[grad_input::kAttenMask]));
  call.params.dq = out[0];
  call.params.dk = out[1];
  call.params.dv = out[2];
  RunKernel(Kernels().select_attention_grad, call.params, call.params.in, kGradName, call.params.in.t1,
            call.params.in.t2);
}

void RunInfer(const Attributes& attributes, const std::vector<Tensor>& in, void** out) {
  CheckShapes(kInferName, attributes, in);
  InferCall call;
  FillInfer(attributes, in, &call);
  ValidateInfer(&call, attributes.layout, MaskRows(in[infer_input::kAttenMask]), attributes.limits);
  call.params.attention_out = out[0];
  if (attributes.return_softmax_lse) {
    call.params.softmax_max = static_cast<float*>(out[1]);
    call.params.softmax_sum = static_cast<float*>(out[2]);
  }
  RunKernel(Kernels().paged_attention, call.params, call.params, kInferName, call.params.tokens,
            call.params.num_blocks * call.params.page_block_size);
}

// Output shapes while some extents are still unknown (-1): what the ranks alone tell.
Shapes PartialForward(const std::vector<Tensor>& in) {
  using namespace forward_input;
  if (in[kQuery].shape.size() != 3 || in[kValue].shape.size() != 3)
    return {{-1, -1, -1}, {-1, -1, 8}, {-1, -1, 8}};
  const int64_t t1 = in[kQuery].shape[0], n1 = in[kQuery].shape[1];
  return {{t1, n1, in[kValue].shape[2]}, {t1, n1, kStatLanes}, {t1, n1, kStatLanes}};
}

Shapes PartialGrad(const std::vector<Tensor>& in) {
  using namespace grad_input;
  return {in[kQuery].shape, in[kKey].shape, in[kValue].shape};
}

Shapes PartialInfer(const std::vector<Tensor>& in, const Attributes& attributes) {
  using namespace infer_input;
  const size_t rank = attributes.layout == "BSND" ? 4 : 3;
  const Shape &query = in[kQuery].shape, &value = in[kValue].shape;
  Shape out = query.size() == rank ? query : Shape(rank, -1);
  const int64_t n2 = std::max<int64_t>(attributes.key_value_head_num, 1);
  const int64_t last = value.empty() ? -1 : value.back();
  const int64_t d2 = attributes.layout == "BSND" ? last : last / n2;
  out.back() = last < 0 ? -1 : attributes.layout == "BSH" ? attributes.head_num * d2 : d2;
  if (!attributes.return_softmax_lse) return {out};
  Shape statistics(attributes.layout == "TND" ? 1 : 2, -1);
  if (query.size() == rank) statistics.assign(query.begin(), query.begin() + statistics.size());
  statistics.insert(statistics.end(), {attributes.head_num, kStatLanes});
  return {out, statistics, statistics};
}

Shapes InferForward(int* ndims, int64_t** shapes, AotExtra* extra) {
  const std::vector<Tensor> in = ReadTensors(forward_input::kCount, nullptr, ndims, shapes, nullptr);
  return Known(in) ? CheckShapes(kForwardName, ReadAttributes(extra, false), in) : PartialForward(in);
}

Shapes InferGradOf(const std::vector<Tensor>& in, AotExtra* extra) {
  return Known(in) ? CheckShapes(kGradName, ReadAttributes(extra, false), in) : PartialGrad(in);
}

Shapes InferGrad(int* ndims, int64_t** shapes, AotExtra* extra) {
  return InferGradOf(ReadTensors(grad_input::kCount, nullptr, ndims, shapes, nullptr), extra);
}

// The Ascend operators' last output: int64, where a kernel leaves the first broken rule if told to look.
Shapes WithFirstError(Shapes shapes) {
  shapes.push_back({8});
  return shapes;
}

Shapes InferAscendForward(int* ndims, int64_t** shapes, AotExtra* extra) {
  return WithFirstError(InferForward(ndims, shapes, extra));
}

// On Ascend the lengths of queries and keys are one input.
Shapes InferAscendGrad(int* ndims, int64_t** shapes, AotExtra* extra) {
  std::vector<Tensor> in = ReadTensors(grad_input::kActualSeqKvlen, nullptr, ndims, shapes, nullptr);
  Tensor q_lens = in.back();
  if (!q_lens.shape.empty() && q_lens.shape[0] >= 0) {
    q_lens.shape[0] /= 2;
    in.back().shape[0] -= q_lens.shape[0];
  }
  in.insert(in.end() - 1, q_lens);
  return WithFirstError(InferGradOf(in, extra));
}

Shapes InferInferLse(int* ndims, int64_t** shapes, AotExtra* extra) {
  const std::vector<Tensor> in = ReadTensors(infer_input::kCount, nullptr, ndims, shapes, nullptr);
  const Attributes attributes = ReadAttributes(extra, true);
  return Known(in) ? CheckShapes(kInferName, attributes, in) : PartialInfer(in, attributes);
}

Shape InferInfer(int* ndims, int64_t** shapes, AotExtra* extra) {
  return InferInferLse(ndims, shapes, extra)[0];
}

Shapes InferAscendInfer(int* ndims, int64_t** shapes, AotExtra* extra) {
  return WithFirstError({InferInfer(ndims, shapes, extra)});
}

}  // namespace
}  // namespace ms_nsa

enum TypeId : int { kInt64Type = 35, kFloat32Type = 43 };  // MindSpore's numbers

using TypeIds = std::vector<TypeId>;
using ms_nsa::Shape;
using ms_nsa::Shapes;

// Shape and type inference of one operator, found by MindSpore by their names. Shape and type of a single
// output go bare, those of several as vectors.
#define MS_NSA_INFERENCE(Name, OutShapes, InferShapes, OutTypes, InferTypes)                \
  MS_NSA_EXPORT OutShapes Name##InferShape(int* ndims, int64_t** shapes, AotExtra* extra) { \
    return ms_nsa::InferShapes(ndims, shapes, extra);                                       \
  }                                                                                         \
  MS_NSA_EXPORT OutTypes Name##InferType(TypeIds in, AotExtra*) {                           \
    return OutTypes InferTypes;                                                             \
  }

// Runs a call with the errors of the operator.
template <typename Call>
void RunCall(const char* op, const Call& call) {
  const ms_nsa::KernelRun run;
  const ms_nsa::FloatEnvironment environment;
  try {
    call();
  } catch (const ms_nsa::OutOfMemory& error) {
    throw std::runtime_error(
        ms_nsa::Join(op, ": scratch memory must hold ", error.bytes(), " bytes, got none: out of memory"));
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(ms_nsa::Join(op, ": out of memory"));
  }
}

// The kernel of one operator, found in the same way.
#define MS_NSA_KERNEL(Name, Op, kInfer, Inputs, Run)                                                   \
  MS_NSA_EXPORT int Name##Init(int*, int64_t**, const char**, AotExtra* extra) {                       \
    return ms_nsa::Init(extra, kInfer);                                                                \
  }                                                                                                    \
  MS_NSA_EXPORT int Name(int, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, \
                         void* extra) {                                                                \
    const auto in = ms_nsa::ReadTensors(ms_nsa::Inputs::kCount, params, ndims, shapes, dtypes);        \
    const auto& attributes = ms_nsa::AttributesOf(extra);                                              \
    RunCall(ms_nsa::Op, [&] { ms_nsa::Run(attributes, in, params + ms_nsa::Inputs::kCount); });        \
    return 0;                                                                                          \
  }

MS_NSA_KERNEL(NsaSelectAttention, kForwardName, false, forward_input, RunForward)
MS_NSA_KERNEL(NsaSelectAttentionGrad, kGradName, false, grad_input, RunGrad)
MS_NSA_KERNEL(NsaSelectedAttentionInfer, kInferName, true, infer_input, RunInfer)
MS_NSA_KERNEL(NsaSelectedAttentionInferLse, kInferName, true, infer_input, RunInfer)  // with its statistics

MS_NSA_INFERENCE(NsaSelectAttention, Shapes, InferForward, TypeIds, ({in[0], kFloat32Type, kFloat32Type}))
MS_NSA_INFERENCE(NsaSelectAttentionGrad, Shapes, InferGrad, TypeIds, ({in[1], in[1], in[1]}))
MS_NSA_INFERENCE(NsaSelectedAttentionInfer, Shape, InferInfer, TypeId, (in[0]))
MS_NSA_INFERENCE(NsaSelectedAttentionInferLse, Shapes, InferInferLse, TypeIds,
                 ({in[0], kFloat32Type, kFloat32Type}))

// The Ascend operators run elsewhere; their inference is here, under their own names.
MS_NSA_INFERENCE(MsNsaSelectAttention, Shapes, InferAscendForward, TypeIds,
                 ({in[0], kFloat32Type, kFloat32Type, kInt64Type}))
MS_NSA_INFERENCE(MsNsaSelectAttentionGrad, Shapes, InferAscendGrad, TypeIds,
                 ({in[1], in[1], in[1], kInt64Type}))
MS_NSA_INFERENCE(MsNsaSelectedAttentionInfer, Shapes, InferAscendInfer, TypeIds, ({in[0], kInt64Type}))
