// SPDX-License-Identifier: Apache-2.0
// The part that all operators share: fills, checks and runs the structs that the build generates from op_info
// (op_info.h). The operator's own part is Run(Operator&).
#pragma once

#include <cmath>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "../runtime/short_calls.h"
#include "attributes.h"
#include "extents.h"
#include "tensor.h"

namespace ms_nsa {

// An operator by its name, for callers that have only that.
struct OperatorInfo {
  const char* name;
  size_t inputs;
  Shapes (*check_shapes)(const AttributeSource&, std::vector<Tensor>);  // throws ArgumentError
  WorkKind work_kind;
};

// All operators of op_info.
const std::vector<OperatorInfo>& Operators();

// Throws ArgumentError for a name that is not in op_info.
inline const OperatorInfo& FindOperator(const std::string& name) {
  for (const OperatorInfo& found : Operators()) {
    if (name == found.name) return found;
  }
  Fail("ms_nsa", "operator", "be one of op_info", name);
}

inline bool Known(const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    for (const int64_t extent : tensor.shape) {
      if (extent < 0) return false;
    }
  }
  return true;
}

// Output shapes of the CPU operator; rules are checked if every extent is known.
template <class Operator>
Shapes ShapesOf(Operator& op, bool known) {
  op.BindExtents();
  if (known) op.CheckRules();
  return op.OutputShapes();
}

template <class Operator>
Shapes CheckShapesOf(const AttributeSource& attributes, std::vector<Tensor> in) {
  if (in.size() != Operator::kInputs)
    Fail(Operator::kName, "inputs", Join("be ", Operator::kInputs), Join(in.size()));
  Operator op;
  op.ReadAttributes(attributes);
  const bool known = Known(in);
  op.ReadInputs(std::move(in));
  return ShapesOf(op, known);
}

template <class Operator>
OperatorInfo OperatorOf() {
  return {Operator::kName, Operator::kInputs, &CheckShapesOf<Operator>, Operator::kWorkKind};
}

// The default factor of the scores.
template <class Operator>
float ScaleOf(const Operator& op) {
  return op.default_scale ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(op.D1))) : op.scale_value;
}

}  // namespace ms_nsa
