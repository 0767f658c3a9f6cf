// SPDX-License-Identifier: Apache-2.0
// Shared by the registrations of the operators: converts CANN's contexts to the structs of op_info and calls
// the tilings. CANN compiles op_host as C++11.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "call_source.h"
#include "extents.h"
#include "plan.h"
#include "register/op_def_registry.h"

namespace ms_nsa {

using DataTypes = std::vector<ge::DataType>;

// Column c of all inputs and outputs is one combination of dtypes that has a kernel.
inline void DefineInput(ops::OpDef& op, const char* name, ops::Option given, const DataTypes& types) {
  const std::vector<ge::Format> formats(types.size(), ge::FORMAT_ND);
  op.Input(name)
      .ParamType(given)
      .DataType(types)
      .Format(formats)
      .UnknownShapeFormat(formats)
      .AutoContiguous();
}

inline void DefineOutput(ops::OpDef& op, const char* name, const DataTypes& types) {
  const std::vector<ge::Format> formats(types.size(), ge::FORMAT_ND);
  op.Output(name).ParamType(ops::REQUIRED).DataType(types).Format(formats).UnknownShapeFormat(formats);
}

inline const gert::Shape& ShapeOf(const gert::Shape& shape) {
  return shape;
}
inline const gert::Shape& ShapeOf(const gert::StorageShape& shape) {
  return shape.GetStorageShape();
}

// A call in one of CANN's contexts. An absent optional input comes as nothing or, from MindSpore, as the
// empty tensor that a Tensor calls absent. Any other tensor is given, an empty one too, and is checked.
template <class Context>
class ContextCall : public CallSource {
 public:
  explicit ContextCall(Context* context) : context_(context) {}

  Tensor Input(size_t place) const override {
    Tensor tensor;
    const auto* found = context_->GetOptionalInputShape(place);
    if (found == nullptr) return tensor;
    const gert::Shape& shape = ShapeOf(*found);
    tensor.shape.resize(shape.GetDimNum());
    for (size_t i = 0; i < tensor.shape.size(); ++i) tensor.shape[i] = shape.GetDim(i);
    return tensor;
  }
  int64_t Int(size_t place) const override { return Attribute<int64_t>(place); }
  float Float(size_t place) const override { return Attribute<float>(place); }

 private:
  template <class T>
  T Attribute(size_t place) const {
    const gert::RuntimeAttrs* attributes = context_->GetAttrs();
    const T* value = attributes ? attributes->GetAttrPointer<T>(place) : nullptr;
    return value ? *value : T{};
  }

  Context* context_;
};

// The operator's struct for a call, not checked yet: a graph with dynamic shapes asks for what it knows.
template <class Operator, class Context>
Operator Understand(Context* context) {
  Operator op;
  op.Read(ContextCall<Context>(context));
  op.BindExtents();
  return op;
}

inline ge::graphStatus Refuse(const char* sentence) {
  std::fprintf(stderr, "%s\n", sentence);
  return ge::GRAPH_FAILED;
}

int32_t AicCores(gert::TilingContext* context);

// Hands a plan to CANN. All cores must be resident at once, since the kernels wait for one another.
ge::graphStatus Submit(const Plan& plan, gert::TilingContext* context);

template <class Operator>
ge::graphStatus InferShapesOf(gert::InferShapeContext* context) {
  try {
    const Operator op = Understand<Operator>(context);
    size_t index = 0;
    for (const Shape& found : op.OutputShapes()) {
      gert::Shape* out = context->GetOutputShape(index++);
      out->SetDimNum(0);
      for (const int64_t extent : found) out->AppendDim(extent);
    }
  } catch (const ArgumentError& error) {
    return Refuse(error.what());
  }
  return ge::GRAPH_SUCCESS;
}

template <class Operator>
ge::graphStatus TilingOf(gert::TilingContext* context) {
  try {
    const Operator op = Understand<Operator>(context);
    op.CheckRules();
    return Submit(Tile(op, AicCores(context)), context);
  } catch (const ArgumentError& error) {
    return Refuse(error.what());
  }
}

}  // namespace ms_nsa
