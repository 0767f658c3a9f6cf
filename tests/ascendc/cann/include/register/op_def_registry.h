// SPDX-License-Identifier: Apache-2.0
// Stand-in for CANN's registration interface, as far as op_host uses it: it keeps what is registered, and its
// contexts hold what a test puts in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ge {

using graphStatus = uint32_t;
constexpr graphStatus GRAPH_SUCCESS = 0, GRAPH_FAILED = 0xFFFFFFFF;

// CANN's numbers.
enum DataType {
  DT_FLOAT = 0,
  DT_FLOAT16 = 1,
  DT_INT32 = 3,
  DT_UINT8 = 4,
  DT_INT64 = 9,
  DT_BOOL = 12,
  DT_BF16 = 27
};
enum Format { FORMAT_ND = 2 };

}  // namespace ge

namespace fe {
struct PlatFormInfos {
  uint32_t aic_cores, aiv_cores, system_workspace;
};
}  // namespace fe

namespace gert {

class Shape {
 public:
  Shape() = default;
  explicit Shape(std::vector<int64_t> extents) : extents_(std::move(extents)) {}
  size_t GetDimNum() const { return extents_.size(); }
  int64_t GetDim(size_t i) const { return extents_.at(i); }
  void SetDimNum(size_t rank) { extents_.resize(rank); }
  void AppendDim(int64_t extent) { extents_.push_back(extent); }

 private:
  std::vector<int64_t> extents_;
};

class StorageShape {
 public:
  explicit StorageShape(Shape shape) : shape_(std::move(shape)) {}
  const Shape& GetStorageShape() const { return shape_; }

 private:
  Shape shape_;
};

// An attribute is read by the type it was registered with, or not at all.
class RuntimeAttrs {
 public:
  template <class T>
  const T* GetAttrPointer(size_t index) const;
  void Add(int64_t value) { values_.push_back({true, value, 0}); }
  void Add(float value) { values_.push_back({false, 0, value}); }

 private:
  struct Value {
    bool is_int;
    int64_t integer;
    float number;
  };
  const Value* At(size_t index, bool is_int) const {
    return index < values_.size() && values_[index].is_int == is_int ? &values_[index] : nullptr;
  }
  std::vector<Value> values_;
};

template <>
inline const int64_t* RuntimeAttrs::GetAttrPointer<int64_t>(size_t index) const {
  const Value* value = At(index, true);
  return value ? &value->integer : nullptr;
}
template <>
inline const float* RuntimeAttrs::GetAttrPointer<float>(size_t index) const {
  const Value* value = At(index, false);
  return value ? &value->number : nullptr;
}

// Inputs by their place in the registration; an absent optional one is null, and by place among those that
// are there (what CANN's GetInputShape counts), it does not exist.
struct Call {
  std::vector<std::unique_ptr<StorageShape>> inputs;
  RuntimeAttrs attributes;

  const StorageShape* Registered(size_t index) const {
    return index < inputs.size() ? inputs[index].get() : nullptr;
  }
  const StorageShape* Present(size_t index) const {
    for (const auto& input : inputs) {
      if (input && index-- == 0) return input.get();
    }
    return nullptr;
  }
};

class InferShapeContext {
 public:
  InferShapeContext(const Call& call, size_t outputs) : call_(call), outputs_(outputs) {}
  const Shape* GetInputShape(size_t index) const { return ShapeOf(call_.Present(index)); }
  const Shape* GetOptionalInputShape(size_t index) const { return ShapeOf(call_.Registered(index)); }
  Shape* GetOutputShape(size_t index) { return index < outputs_.size() ? &outputs_[index] : nullptr; }
  const RuntimeAttrs* GetAttrs() const { return &call_.attributes; }

 private:
  static const Shape* ShapeOf(const StorageShape* shape) {
    return shape ? &shape->GetStorageShape() : nullptr;
  }
  const Call& call_;
  std::vector<Shape> outputs_;
};

class InferDataTypeContext {
 public:
  InferDataTypeContext(std::vector<ge::DataType> inputs, size_t outputs)
      : inputs_(std::move(inputs)), outputs_(outputs) {}
  ge::DataType GetInputDataType(size_t index) const { return inputs_.at(index); }
  ge::graphStatus SetOutputDataType(size_t index, ge::DataType type) {
    outputs_.at(index) = type;
    return ge::GRAPH_SUCCESS;
  }
  const std::vector<ge::DataType>& outputs() const { return outputs_; }

 private:
  std::vector<ge::DataType> inputs_, outputs_;
};

class TilingData {
 public:
  explicit TilingData(size_t capacity) : data_(capacity) {}
  size_t GetCapacity() const { return data_.size(); }
  size_t GetDataSize() const { return size_; }
  void SetDataSize(size_t size) { size_ = size; }
  void* GetData() { return data_.data(); }
  const void* GetData() const { return data_.data(); }

 private:
  std::vector<char> data_;
  size_t size_ = 0;
};

class TilingContext {
 public:
  TilingContext(const Call& call, fe::PlatFormInfos platform, size_t capacity)
      : call_(call), platform_(platform), data_(capacity) {}
  const StorageShape* GetInputShape(size_t index) const { return call_.Present(index); }
  const StorageShape* GetOptionalInputShape(size_t index) const { return call_.Registered(index); }
  const RuntimeAttrs* GetAttrs() const { return &call_.attributes; }
  fe::PlatFormInfos* GetPlatformInfo() { return &platform_; }
  TilingData* GetRawTilingData() { return &data_; }
  size_t* GetWorkspaceSizes(size_t count) { return count == 1 ? &workspace : nullptr; }
  ge::graphStatus SetBlockDim(uint32_t value) { return block_dim = value, ge::GRAPH_SUCCESS; }
  ge::graphStatus SetScheduleMode(uint32_t value) { return schedule_mode = value, ge::GRAPH_SUCCESS; }
  const TilingData& tiling_data() const { return data_; }

  size_t workspace = 0;
  uint32_t block_dim = 0, schedule_mode = 0;

 private:
  const Call& call_;
  fe::PlatFormInfos platform_;
  TilingData data_;
};

}  // namespace gert

namespace ops {

enum Option { IGNORE = 0, OPTIONAL = 1, REQUIRED = 2, DYNAMIC = 3, VIRTUAL = 4 };

struct OpParamDef {
  std::string name;
  Option option = IGNORE;
  std::vector<ge::DataType> types;
  std::vector<ge::Format> formats, unknown_formats;
  bool contiguous = false;

  OpParamDef& ParamType(Option value) { return option = value, *this; }
  OpParamDef& DataType(std::vector<ge::DataType> value) { return types = std::move(value), *this; }
  OpParamDef& Format(std::vector<ge::Format> value) { return formats = std::move(value), *this; }
  OpParamDef& UnknownShapeFormat(std::vector<ge::Format> value) {
    return unknown_formats = std::move(value), *this;
  }
  OpParamDef& AutoContiguous() { return contiguous = true, *this; }
};

struct OpAttrDef {
  std::string name, type;
  Option option = IGNORE;

  OpAttrDef& AttrType(Option value) { return option = value, *this; }
  OpAttrDef& Int() { return type = "int", *this; }
  OpAttrDef& Float() { return type = "float", *this; }
};

struct OpAICoreDef {
  ge::graphStatus (*tiling)(gert::TilingContext*) = nullptr;
  std::vector<std::string> configs;

  OpAICoreDef& SetTiling(ge::graphStatus (*function)(gert::TilingContext*)) {
    return tiling = function, *this;
  }
  OpAICoreDef& AddConfig(const char* soc) { return configs.push_back(soc), *this; }
};

class OpDef {
 public:
  explicit OpDef(const char* name) : name(name) {}
  OpParamDef& Input(const char* input) { return Named(inputs, input); }
  OpParamDef& Output(const char* output) { return Named(outputs, output); }
  OpAttrDef& Attr(const char* attribute) { return Named(attributes, attribute); }
  OpAICoreDef& AICore() { return core; }
  OpDef& SetInferShape(ge::graphStatus (*function)(gert::InferShapeContext*)) {
    return infer_shape = function, *this;
  }
  OpDef& SetInferDataType(ge::graphStatus (*function)(gert::InferDataTypeContext*)) {
    return infer_type = function, *this;
  }

  std::string name;
  std::deque<OpParamDef> inputs, outputs;
  std::deque<OpAttrDef> attributes;
  OpAICoreDef core;
  ge::graphStatus (*infer_shape)(gert::InferShapeContext*) = nullptr;
  ge::graphStatus (*infer_type)(gert::InferDataTypeContext*) = nullptr;

 private:
  template <class T>
  static T& Named(std::deque<T>& list, const char* name) {
    list.emplace_back();
    list.back().name = name;
    return list.back();
  }
};

inline std::deque<OpDef>& Registered() {
  static std::deque<OpDef> all;
  return all;
}

inline bool Register(const OpDef& op) {
  Registered().push_back(op);
  return true;
}

}  // namespace ops

#define OP_ADD(OpType) static const bool OpType##_is_registered = ops::Register(OpType(#OpType))
