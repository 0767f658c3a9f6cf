# SPDX-License-Identifier: Apache-2.0
"""Turns op_info into the Ascend operators' registration: ``python generate.py OP_INFO_FOLDER OUTPUT_FOLDER``.

``op_info.h`` gets a struct per operator with an ``ascend_name``: its attributes, tensors and extents by name, as its
tiling reads them. ``op_info.cpp`` gets what fills and checks them, shape and dtype inference, and the registration with
CANN. An operator's own part is ``Plan Tile(const Operator&, int32_t aic_cores)``, which the linker asks for. Everything
is C++11. The rules are turned into C++ by ``ms_nsa/csrc/generate.py``, as for the CPU.
"""

import importlib.util
import itertools
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SPEC = importlib.util.spec_from_file_location("generate_cpu", ROOT / "ms_nsa" / "csrc" / "generate.py")
generate_cpu = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate_cpu)
op_validation = generate_cpu.op_validation

CHIPS = ("ascend910b", "ascend910_93")
CANN_TYPES = {
    **{"bool": "DT_BOOL", "int32": "DT_INT32", "int64": "DT_INT64", "uint8": "DT_UINT8"},
    **{"float16": "DT_FLOAT16", "float32": "DT_FLOAT", "bfloat16": "DT_BF16"},
}
RELATIONS = {
    "max": ("{0} <= {1}", "be at most {1}"),
    "min": ("{0} >= {1}", "be at least {1}"),
    "multiple": ("{0} % {1} == 0", "be a multiple of {1}"),
}


def place(item):
    """The enumerator of an input or attribute: ``kActualSeqQlen``."""
    return "k" + item["name"].title().replace("_", "")


class AscendOperator(generate_cpu.Operator):
    """The C++ of one operator on Ascend."""

    device = "ascend"

    def __init__(self, info):
        super().__init__(info)
        self.op_type = info["ascend_name"]

    def tensors(self):
        """The inputs as CANN has them: some of the primitive's are joined."""
        joined = self.info.get("joined_on_ascend")
        listed = {tensor["name"]: tensor for tensor in self.info["inputs"]}
        return [joined if second else listed[name] for name, second in self.ascend_inputs()]

    def struct(self):
        types = generate_cpu.CPP_TYPES
        attributes = [f"  {types[a['type']]} {a['name']}{{}};" for a in self.attributes()]
        return f"""
struct {self.name} {{
  static constexpr const char* kName = "{self.op_type}";
  enum Inputs : size_t {{ {", ".join(map(place, self.tensors()))} }};
  enum Attributes : size_t {{ {", ".join(map(place, self.attributes()))} }};

  // Attributes.
{chr(10).join(attributes)}

  Tensor {", ".join(self.inputs)};

  // Extents; kUnknown where one is not known or does not exist.
  int64_t {", ".join(f"{name} = kUnknown" for name in self.info["extents"])};

  void Read(const CallSource&);
  void BindExtents();
  void CheckRules() const;  // throws ArgumentError
  Shapes OutputShapes() const;
}};

// Written by hand, in a file *_tiling.cpp.
Plan Tile(const {self.name}&, int32_t aic_cores);
"""

    def definitions(self):
        extents = [f"{name} = {self.expression(text)};" for name, text in self.info["extents"].items()]
        return "\n".join(
            [
                self.function("void Read(const CallSource& call)", self.read()),
                self.function("void BindExtents()", extents),
                self.function("void CheckRules() const", self.check_rules()),
                self.function("Shapes OutputShapes() const", self.output_shapes()),
                self.infer_types(),
            ]
        )

    def read(self):
        for attribute in self.attributes():
            name, at = attribute["name"], place(attribute)
            if "choices" in attribute:
                choices = ", ".join(f'"{choice}"' for choice in attribute["choices"])
                yield f'{name} = ChoiceOf(kName, "{name}", call.Int({at}), {{{choices}}});'
            else:
                yield f"{name} = call.{generate_cpu.READERS[attribute['type']]}({at});"
        for tensor, (name, second) in zip(self.tensors(), self.ascend_inputs()):
            if second:
                yield f"SplitInHalves(call.Input({place(tensor)}), {name}, {second});"
            else:
                yield f"{name} = call.Input({place(tensor)});"

    def may_lack(self, output):
        """The operator has every output in every call."""
        return False

    def check_rules(self):
        for attribute in self.attributes():
            if isinstance(attribute.get("is"), list):
                numbers = ", ".join(map(str, attribute["is"]))
                name = attribute["name"]
                yield f'CheckNumber(kName, "{name}", {name}, {{{numbers}}});'
        for tensor in self.info["inputs"]:
            if not tensor.get("optional"):
                yield f'CheckGiven(kName, "{tensor["name"]}", {tensor["name"]});'
        yield from super().check_rules()

    def check_limits(self):
        """What the kernels can do, as rules like the others."""
        known = op_validation.quantities(self.info)
        for rule in self.info["limits"]["ascend_kernels"]:
            quantity, relation, *operands = rule.split()
            if any(known.get(name, name) is None for name in (quantity, *operands)):
                raise ValueError(f"{self.name}: a tiling does not know the values in {rule!r}")
            value = f"({known[quantity]})"
            if relation == "in":
                condition, words = " or ".join(f"{value} == {each}" for each in operands), " or ".join(operands)
                sentence = f"be {words}"
            else:
                condition, sentence = (text.format(value, operands[0]) for text in RELATIONS[relation])
            yield self.check_rule(condition, f"{quantity} must {sentence}, got {{{known[quantity]}}}")

    def infer_types(self):
        same = [name for name, _ in self.ascend_inputs()].index(self.info["dtype_of"])
        if any(tensor.get("optional") for tensor in self.tensors()[:same]):
            raise ValueError(f"{self.name}: CANN counts given inputs, so that none before dtype_of may be optional")
        lines = []
        for index, tensor in enumerate(self.outputs()):
            kind = tensor["dtype"]
            text = f"context->GetInputDataType({same})" if kind == "T" else f"ge::{CANN_TYPES[kind[0]]}"
            lines.append(f"context->SetOutputDataType({index}, {text});")
        head = f"static ge::graphStatus InferTypesOf{self.name}(gert::InferDataTypeContext* context)"
        return "\n".join([*generate_cpu.block(head, [*lines, "return ge::GRAPH_SUCCESS;"]), ""])

    def columns(self):
        """{tensor's name: its dtypes in C++}, a column for each combination that has a kernel."""
        tensors = [*self.tensors(), *self.outputs()]
        rows = []
        for dtype in self.info["dtypes"]["ascend"]:
            rows += itertools.product(*([dtype] if t["dtype"] == "T" else t["dtype"] for t in tensors))
        lists = (", ".join(f"ge::{CANN_TYPES[name]}" for name in column) for column in zip(*rows))
        return {tensor["name"]: f"{{{types}}}" for tensor, types in zip(tensors, lists)}

    def registration(self):
        columns, lines = self.columns(), ["using namespace ms_nsa;"]
        for tensor in self.tensors():
            given = "OPTIONAL" if tensor.get("optional") else "REQUIRED"
            lines.append(f'DefineInput(*this, "{tensor["name"]}", {given}, {columns[tensor["name"]]});')
        for tensor in self.outputs():
            lines.append(f'DefineOutput(*this, "{tensor["name"]}", {columns[tensor["name"]]});')
        for attribute in self.attributes():
            kind = "Float" if attribute["type"] == "float" else "Int"
            lines.append(f'Attr("{attribute["name"]}").AttrType(REQUIRED).{kind}();')
        lines.append(f"SetInferShape(InferShapesOf<{self.name}>).SetInferDataType(InferTypesOf{self.name});")
        first, *further = CHIPS
        lines.append(f'AICore().SetTiling(TilingOf<{self.name}>).AddConfig("{first}");')
        lines += [f'AICore().AddConfig("{chip}");' for chip in further]
        body = "\n".join(f"    {line}" for line in lines)
        return f"""
class {self.op_type} : public OpDef {{
 public:
  explicit {self.op_type}(const char* name) : OpDef(name) {{
{body}
  }}
}};
OP_ADD({self.op_type});
"""


HEADER = """// Generated from op_info by ascendc/generate.py.
#pragma once

#include "call_source.h"
#include "extents.h"
#include "plan.h"

namespace ms_nsa {
"""

SOURCE = """// Generated from op_info by ascendc/generate.py.
#include "op_info.h"

#include "op_call.h"

namespace ms_nsa {

using namespace extent;

"""


def main(folder, output):
    operators = [each for each in generate_cpu.load(folder, operator_of) if each]
    definitions = "".join(operator.definitions() + "\n" for operator in operators)
    registrations = "".join(operator.registration() for operator in operators)
    files = {
        "op_info.h": HEADER + "".join(operator.struct() for operator in operators) + "\n}  // namespace ms_nsa\n",
        "op_info.cpp": f"{SOURCE}{definitions}}}  // namespace ms_nsa\n\nnamespace ops {{\n{registrations}\n}}\n",
    }
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")


def operator_of(info):
    return AscendOperator(info) if "ascend_name" in info else None


if __name__ == "__main__":
    main(*sys.argv[1:])
