// SPDX-License-Identifier: Apache-2.0
// C interface of op_host for the Python tests, over the stand-in of CANN's registration interface.
#include <algorithm>
#include <sstream>

#include "register/op_def_registry.h"

namespace {

const ops::OpDef* Find(const char* name) {
  for (const ops::OpDef& op : ops::Registered()) {
    if (op.name == name) return &op;
  }
  return nullptr;
}

template <class List, class Write>
void WriteList(std::ostringstream& out, const List& list, const Write& write) {
  out << '[';
  bool first = true;
  for (const auto& item : list) {
    if (!first) out << ',';
    first = false;
    write(item);
  }
  out << ']';
}

void WriteTensor(std::ostringstream& out, const ops::OpParamDef& tensor) {
  const auto number = [&](int value) { out << value; };
  out << "{\"name\":\"" << tensor.name << "\",\"option\":" << tensor.option
      << ",\"contiguous\":" << tensor.contiguous << ",\"types\":";
  WriteList(out, tensor.types, number);
  out << ",\"formats\":";
  WriteList(out, tensor.formats, number);
  out << ",\"unknown_formats\":";
  WriteList(out, tensor.unknown_formats, number);
  out << '}';
}

void WriteOperator(std::ostringstream& out, const ops::OpDef& op) {
  const auto tensor = [&](const ops::OpParamDef& each) { WriteTensor(out, each); };
  out << "{\"name\":\"" << op.name << "\",\"inputs\":";
  WriteList(out, op.inputs, tensor);
  out << ",\"outputs\":";
  WriteList(out, op.outputs, tensor);
  out << ",\"attributes\":";
  WriteList(out, op.attributes, [&](const ops::OpAttrDef& attribute) {
    out << "{\"name\":\"" << attribute.name << "\",\"type\":\"" << attribute.type
        << "\",\"option\":" << attribute.option << '}';
  });
  out << ",\"configs\":";
  WriteList(out, op.core.configs, [&](const std::string& soc) { out << '"' << soc << '"'; });
  out << '}';
}

}  // namespace

struct TilingResult {
  int64_t data_size, workspace, block_dim, schedule_mode;
  char data[4096];
};

// All that is registered, as JSON.
extern "C" const char* HostRegistered() {
  static std::string text;
  std::ostringstream out;
  WriteList(out, ops::Registered(), [&](const ops::OpDef& op) { WriteOperator(out, op); });
  text = out.str();
  return text.c_str();
}

extern "C" gert::Call* HostNewCall() {
  return new gert::Call;
}

extern "C" void HostDeleteCall(gert::Call* call) {
  delete call;
}

// Rank -1: the input is absent.
extern "C" void HostAddInput(gert::Call* call, int rank, const int64_t* extents) {
  if (rank < 0) return call->inputs.push_back(nullptr);
  const gert::Shape shape(std::vector<int64_t>(extents, extents + rank));
  call->inputs.emplace_back(new gert::StorageShape(shape));
}

extern "C" void HostAddInt(gert::Call* call, int64_t value) {
  call->attributes.Add(value);
}

extern "C" void HostAddFloat(gert::Call* call, float value) {
  call->attributes.Add(value);
}

extern "C" int HostTiling(const char* op, const gert::Call* call, int aic_cores, int system_workspace,
                          TilingResult* result) {
  const uint32_t cores = static_cast<uint32_t>(aic_cores);
  gert::TilingContext context(*call, {cores, 2 * cores, static_cast<uint32_t>(system_workspace)},
                              sizeof(result->data));
  if (Find(op)->core.tiling(&context) != ge::GRAPH_SUCCESS) return 1;
  result->data_size = static_cast<int64_t>(context.tiling_data().GetDataSize());
  result->workspace = static_cast<int64_t>(context.workspace);
  result->block_dim = context.block_dim;
  result->schedule_mode = context.schedule_mode;
  std::copy_n(static_cast<const char*>(context.tiling_data().GetData()), sizeof(result->data), result->data);
  return 0;
}

// `out` holds the output shapes one after another, each led by its rank.
extern "C" int HostInferShape(const char* name, const gert::Call* call, int64_t* out) {
  const ops::OpDef& op = *Find(name);
  gert::InferShapeContext context(*call, op.outputs.size());
  if (op.infer_shape(&context) != ge::GRAPH_SUCCESS) return 1;
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const gert::Shape& shape = *context.GetOutputShape(i);
    *out++ = static_cast<int64_t>(shape.GetDimNum());
    for (size_t dim = 0; dim < shape.GetDimNum(); ++dim) *out++ = shape.GetDim(dim);
  }
  return 0;
}

extern "C" int HostInferType(const char* name, int count, const int* inputs, int* out) {
  const ops::OpDef& op = *Find(name);
  std::vector<ge::DataType> types;
  for (int i = 0; i < count; ++i) types.push_back(static_cast<ge::DataType>(inputs[i]));
  gert::InferDataTypeContext context(types, op.outputs.size());
  if (op.infer_type(&context) != ge::GRAPH_SUCCESS) return 1;
  for (ge::DataType type : context.outputs()) *out++ = type;
  return 0;
}
