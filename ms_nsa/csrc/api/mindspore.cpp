// SPDX-License-Identifier: Apache-2.0
// The interface for MindSpore: the only file that knows its calling convention. MindSpore finds the functions
// by name; there is one set per operator of op_info (exports.inc).
#include <memory>
#include <new>
#include <stdexcept>

#include "../call/operator.h"
#include "../runtime/float_environment.h"
#include "../runtime/progress.h"
#include "../runtime/scratch_memory.h"
#include "custom_aot.h"
#include "export.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

class PrimitiveAttributes : public AttributeSource {
 public:
  explicit PrimitiveAttributes(AotExtra* extra) : extra_(extra) {}

  int64_t Int(const char* name) const override { return extra_->GetAttrInt(name); }
  float Float(const char* name) const override { return extra_->GetAttrFloat(name); }
  std::string String(const char* name) const override { return extra_->GetAttrStr(name); }

 private:
  AotExtra* extra_;
};

// Keeps an operator with its attributes from Init to the calls.
template <class Operator>
struct KernelData : AotKernelData {
  Operator op;
};

std::vector<Tensor> ReadTensors(size_t count, void** params, int* ndims, int64_t** shapes,
                                const char** dtypes) {
  std::vector<Tensor> tensors(count);
  for (size_t i = 0; i < count; ++i) {
    tensors[i].shape.assign(shapes[i], shapes[i] + ndims[i]);
    if (dtypes) tensors[i].dtype = dtypes[i];
    if (params) tensors[i].data = params[i];
  }
  return tensors;
}

template <class Operator>
int InitKernel(AotExtra* extra) {
  auto data = std::make_unique<KernelData<Operator>>();
  data->op.ReadAttributes(PrimitiveAttributes(extra));
  delete extra->kernel_data();  // a second call for new shapes
  extra->set_kernel_data(data.release());
  return 0;
}

template <class Operator>
void RunOperator(void** params, int* ndims, int64_t** shapes, const char** dtypes, void* extra) {
  Operator op = static_cast<KernelData<Operator>*>(static_cast<AotExtra*>(extra)->kernel_data())->op;
  op.ReadInputs(ReadTensors(Operator::kInputs, params, ndims, shapes, dtypes));
  op.ReadOutputs(params + Operator::kInputs);
  op.BindExtents();
  op.CheckRules();
  Run(op);
}

template <class Operator>
int RunKernel(void** params, int* ndims, int64_t** shapes, const char** dtypes, void* extra) {
  const KernelRun run;
  const FloatEnvironment environment;
  try {
    RunOperator<Operator>(params, ndims, shapes, dtypes, extra);
  } catch (const OutOfMemory& error) {
    throw std::runtime_error(Join(Operator::kName, ": scratch memory must hold ", error.bytes(),
                                  " bytes, got none: out of memory"));
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(Join(Operator::kName, ": out of memory"));
  }
  return 0;
}

template <class Operator>
Shapes CpuShapes(int* ndims, int64_t** shapes, AotExtra* extra) {
  return CheckShapesOf<Operator>(PrimitiveAttributes(extra),
                                 ReadTensors(Operator::kInputs, nullptr, ndims, shapes, nullptr));
}

// The Ascend operators run elsewhere; their inference is here, under their own names. They have all outputs
// in every call, and a last one where a kernel leaves the first broken rule if told to look.
template <class Operator>
Shapes AscendShapes(int* ndims, int64_t** shapes, AotExtra* extra) {
  constexpr int64_t kFirstErrorWords = 8;
  Operator op;
  op.ReadAttributes(PrimitiveAttributes(extra));
  op.AskForAllOutputs();
  std::vector<Tensor> in = ReadTensors(Operator::kAscendInputs, nullptr, ndims, shapes, nullptr);
  const bool known = Known(in);
  op.ReadAscendInputs(std::move(in));
  Shapes found = ShapesOf(op, known);
  found.push_back({kFirstErrorWords});
  return found;
}

}  // namespace
}  // namespace ms_nsa

enum TypeId : int {};  // MindSpore's numbers of element types

using TypeIds = std::vector<TypeId>;
using ms_nsa::AscendShapes;
using ms_nsa::CpuShapes;

// The kernel of one operator.
#define MS_NSA_KERNEL(Name, Operator)                                                                  \
  MS_NSA_EXPORT int Name##Init(int*, int64_t**, const char**, AotExtra* extra) {                       \
    return ms_nsa::InitKernel<ms_nsa::Operator>(extra);                                                \
  }                                                                                                    \
  MS_NSA_EXPORT int Name(int, void** params, int* ndims, int64_t** shapes, const char** dtypes, void*, \
                         void* extra) {                                                                \
    return ms_nsa::RunKernel<ms_nsa::Operator>(params, ndims, shapes, dtypes, extra);                  \
  }

// Shape and type inference of one operator. Those of a single output go bare, those of several as vectors.
#define MS_NSA_INFERENCE_OF_SEVERAL(Name, InferShapes, OutTypes)                                 \
  MS_NSA_EXPORT ms_nsa::Shapes Name##InferShape(int* ndims, int64_t** shapes, AotExtra* extra) { \
    return InferShapes(ndims, shapes, extra);                                                    \
  }                                                                                              \
  MS_NSA_EXPORT TypeIds Name##InferType([[maybe_unused]] TypeIds in, AotExtra*) {                \
    return TypeIds OutTypes;                                                                     \
  }

#define MS_NSA_INFERENCE_OF_ONE(Name, InferShapes, OutTypes)                                    \
  MS_NSA_EXPORT ms_nsa::Shape Name##InferShape(int* ndims, int64_t** shapes, AotExtra* extra) { \
    return InferShapes(ndims, shapes, extra)[0];                                                \
  }                                                                                             \
  MS_NSA_EXPORT TypeId Name##InferType([[maybe_unused]] TypeIds in, AotExtra*) {                \
    return (TypeIds OutTypes)[0];                                                               \
  }

#include "exports.inc"
