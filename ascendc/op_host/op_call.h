// SPDX-License-Identifier: Apache-2.0
// What the operators' registrations share: dtypes, and the step from CANN's contexts to the tiling functions
// and back. CANN compiles op_host as C++11.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "attention_tiling.h"
#include "first_error.h"
#include "register/op_def_registry.h"

namespace ms_nsa {

using DataTypes = std::vector<ge::DataType>;

// Column c of all inputs and outputs is one combination of dtypes that has a kernel.
inline DataTypes QueryTypes() {
  return {ge::DT_FLOAT16, ge::DT_FLOAT16, ge::DT_BF16, ge::DT_BF16};
}
inline DataTypes MaskTypes() {
  return {ge::DT_UINT8, ge::DT_BOOL, ge::DT_UINT8, ge::DT_BOOL};
}
inline DataTypes Always(ge::DataType type) {
  return DataTypes(4, type);
}

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

inline void DefineInts(ops::OpDef& op, std::initializer_list<const char*> names) {
  for (const char* name : names) op.Attr(name).AttrType(ops::REQUIRED).Int();
}

inline gert::Shape FirstErrorShape() {
  return gert::Shape({sizeof(FirstError) / sizeof(int64_t)});
}

constexpr int64_t kStatLanes = 8;  // softmax_max and softmax_sum hold each value eight times

// An absent optional input comes as nothing or, from MindSpore, as an empty tensor of this rank whose extents
// are all 0 (ABSENT in ms_nsa/op_reader.py). Any other tensor is given, an empty one too, and is checked.
constexpr size_t kAbsentRank = 7;

// Inputs by their place in the registration, whether earlier optional ones are there or not.
class TilingCall {
 public:
  explicit TilingCall(gert::TilingContext* context) : context_(context) {}

  // 0 for what is absent.
  size_t Rank(size_t input) const {
    const gert::StorageShape* storage = context_->GetOptionalInputShape(input);
    if (storage == nullptr) return 0;
    const gert::Shape& shape = storage->GetStorageShape();
    const size_t rank = shape.GetDimNum();
    size_t zeros = 0;
    while (zeros < rank && shape.GetDim(zeros) == 0) ++zeros;
    return rank == kAbsentRank && zeros == rank ? 0 : rank;
  }
  // 0 beyond the rank.
  int64_t Extent(size_t input, size_t dim) const {
    if (dim >= Rank(input)) return 0;
    return context_->GetOptionalInputShape(input)->GetStorageShape().GetDim(dim);
  }
  bool Given(size_t input) const { return Rank(input) > 0; }
  // Absent, or of this rank.
  bool MayHaveRank(size_t input, size_t rank) const { return !Given(input) || Rank(input) == rank; }
  // Absent, or with something along `dim`, which is owed where `wanted` is not 0.
  bool MayCover(size_t input, size_t dim, int64_t wanted) const {
    return !Given(input) || wanted == 0 || Extent(input, dim) > 0;
  }
  int64_t Last(size_t input) const { return Rank(input) ? Extent(input, Rank(input) - 1) : 0; }
  int64_t Int(size_t attribute) const { return Attribute<int64_t>(attribute); }
  float Float(size_t attribute) const { return Attribute<float>(attribute); }

 private:
  template <class T>
  T Attribute(size_t index) const {
    const gert::RuntimeAttrs* attributes = context_->GetAttrs();
    const T* value = attributes ? attributes->GetAttrPointer<T>(index) : nullptr;
    return value ? *value : T{};
  }

  gert::TilingContext* context_;
};

inline ge::graphStatus Refuse(const std::string& error) {
  std::fprintf(stderr, "%s\n", error.c_str());
  return ge::GRAPH_FAILED;
}

int32_t AicCores(gert::TilingContext* context);
size_t SystemWorkspace(gert::TilingContext* context);

// Hands a plan to CANN. All cores must be resident at once, since the kernels wait for one another.
template <class Plan>
ge::graphStatus Submit(const Plan& plan, gert::TilingContext* context) {
  if (!plan.error.empty()) return Refuse(plan.error);
  auto* params = context->GetTilingData<decltype(plan.params)>();
  size_t* workspace = context->GetWorkspaceSizes(1);
  if (params == nullptr || workspace == nullptr)
    return Refuse("ms_nsa: CANN left no room for the tiling data");
  *params = plan.params;
  *workspace = SystemWorkspace(context) + static_cast<size_t>(plan.workspace_bytes);
  context->SetBlockDim(static_cast<uint32_t>(plan.block_dim));
  context->SetScheduleMode(1);
  return ge::GRAPH_SUCCESS;
}

}  // namespace ms_nsa
