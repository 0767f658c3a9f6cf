# SPDX-License-Identifier: Apache-2.0
"""Turns op_info into C++ at build time: ``python generate.py OP_INFO_FOLDER OUTPUT_FOLDER``.

``op_info.h`` gets a struct per operator: its attributes, tensors and extents by name, and what is derived from them.
``op_info.cpp`` gets their definitions and the table of operators, ``exports.inc`` the functions that MindSpore finds
by name, ``exports.map`` the names that the library shows. An operator's own C++ is a function ``void Run(Operator&)``,
which the linker asks for.
"""

import ast
import itertools
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import op_language as language  # noqa: E402
import op_validation  # noqa: E402

CPP_TYPES = {"int": "int64_t", "float": "float", "str": "std::string"}
READERS = {"int": "Int", "float": "Float", "str": "String"}
# MindSpore's numbers of element types.
TYPE_IDS = {"bool": 30, "int32": 34, "int64": 35, "uint8": 37, "float16": 42, "float32": 43, "bfloat16": 45}
OPERATORS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.FloorDiv: "Div", ast.Mod: "Mod"}
COMPARISONS = {
    ast.Eq: "Equal({}, {})",
    ast.NotEq: "Not(Equal({}, {}))",
    ast.Lt: "Less({}, {})",
    ast.Gt: "Less({1}, {0})",
    ast.LtE: "Not(Less({1}, {0}))",
    ast.GtE: "Not(Less({}, {}))",
}
FUNCTIONS = {"dim": "Dim", "given": "Given", "rank": "Rank", "size": "Size"}


def fold(function, items):
    """function(function(a, b), c) of any number of C++ expressions."""
    first, *rest = items
    for item in rest:
        first = f"{function}({first}, {item})"
    return first


def cpp(node):
    """The C++ of an expression of op_info."""
    if isinstance(node, ast.Constant):
        return f'"{node.value}"' if isinstance(node.value, str) else str(node.value)
    if isinstance(node, ast.Name):
        return "kUnknown" if node.id == language.UNKNOWN else node.id
    if isinstance(node, ast.BinOp):
        return f"{OPERATORS[type(node.op)]}({cpp(node.left)}, {cpp(node.right)})"
    if isinstance(node, ast.Compare):
        return comparison(node)
    if isinstance(node, ast.BoolOp):
        return fold("And" if isinstance(node.op, ast.And) else "Or", map(cpp, node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"Not({cpp(node.operand)})"
    if isinstance(node, ast.IfExp):
        return f"Choose({cpp(node.test)}, {cpp(node.body)}, {cpp(node.orelse)})"
    if isinstance(node, ast.Call) and node.func.id in ("min", "max"):
        return fold({"min": "Least", "max": "Most"}[node.func.id], map(cpp, node.args))
    if isinstance(node, ast.Call):
        return f"{FUNCTIONS[node.func.id]}({', '.join(map(cpp, node.args))})"
    raise ValueError(f"expression {ast.unparse(node)!r}")


def comparison(node):
    (operator,), (right,) = node.ops, node.comparators
    sides = cpp(node.left), cpp(right)
    if isinstance(right, ast.Constant) and isinstance(right.value, str):
        return f"int64_t{{{sides[0]} {'==' if isinstance(operator, ast.Eq) else '!='} {sides[1]}}}"
    return COMPARISONS[type(operator)].format(*sides)


def block(head, lines):
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"]


class Operator:
    """The C++ of one operator; ``ascendc/generate.py`` makes another of the same parts."""

    device = "cpu"

    def __init__(self, info):
        self.info, self.name = info, info["name"]
        self.inputs = [tensor["name"] for tensor in info["inputs"]]

    def expression(self, text):
        return cpp(language.expression(self.info, text))

    def struct(self):
        attributes = [f"  {CPP_TYPES[a['type']]} {a['name']}{{}};" for a in self.attributes()]
        unit, joined = self.work()[1:]
        return f"""
struct {self.name} {{
  static constexpr char kName[] = "{self.name}";
  static constexpr size_t kInputs = {len(self.inputs)}, kAscendInputs = {len(self.ascend_inputs())};
  static constexpr WorkKind kWorkKind{{WorkUnit::{unit}, {joined}}};

  // Attributes.
{chr(10).join(attributes)}

  Tensor {", ".join(self.inputs)};

  // Outputs; nullptr where one is not asked for.
  void {", ".join(f"*{tensor['name']}{{}}" for tensor in self.outputs())};

  // Extents; kUnknown where one is not known or does not exist.
  int64_t {", ".join(f"{name} = kUnknown" for name in self.info["extents"])};

  void ReadAttributes(const AttributeSource&);
  void ReadInputs(std::vector<Tensor>);
  void ReadAscendInputs(std::vector<Tensor>);
  void ReadOutputs(void**);
  void AskForAllOutputs();
  void BindExtents();
  void CheckRules() const;  // throws ArgumentError
  Shapes OutputShapes() const;
  Quantities LimitQuantities() const;
  int64_t Work() const;

  DType dtype() const {{ return DTypeOf({self.info["dtype_of"]}.dtype); }}
}};

void Run({self.name}&);
"""

    def attributes(self):
        return [a for a in self.info["attributes"] if self.device in a.get("devices", (self.device,))]

    def outputs(self, device=None):
        device = device or self.device
        return [tensor for tensor in self.info["outputs"] if device in tensor.get("devices", (device,))]

    def work(self):
        work = self.info.get("work", {"pairs": "0", "joined": False})
        unit = "pairs" if "pairs" in work else "rows"
        return work[unit], f"k{unit.title()}", "true" if work["joined"] else "false"

    def ascend_inputs(self):
        """(name, joined with which) of the Ascend operator's inputs."""
        joins = self.info.get("joined_on_ascend", {}).get("joins", ())
        listed = self.inputs
        return [(name, joins[1] if name in joins else None) for name in listed if name not in joins[1:]]

    def function(self, signature, lines):
        result, _, rest = signature.partition(" ")
        return "\n".join([f"{result} {self.name}::{rest} {{", *(f"  {line}" for line in lines), "}", ""])

    def definitions(self):
        read = [f'{a["name"]} = source.{READERS[a["type"]]}("{a["name"]}");' for a in self.attributes()]
        inputs = [f"{name} = std::move(in[{index}]);" for index, name in enumerate(self.inputs)]
        extents = [f"{name} = {self.expression(text)};" for name, text in self.info["extents"].items()]
        return "\n".join(
            [
                self.function("void ReadAttributes(const AttributeSource& source)", read),
                self.function("void ReadInputs(std::vector<Tensor> in)", inputs),
                self.function("void ReadAscendInputs(std::vector<Tensor> in)", self.read_ascend_inputs()),
                self.function("void ReadOutputs(void** out)", self.read_outputs()),
                self.function("void AskForAllOutputs()", [f"{name} = 1;" for name in self.switches()]),
                self.function("void BindExtents()", extents),
                self.function("void CheckRules() const", self.check_rules()),
                self.function("Shapes OutputShapes() const", self.output_shapes()),
                self.function("Quantities LimitQuantities() const", self.quantities()),
                self.function("int64_t Work() const", [f"return {self.expression(self.work()[0])};"]),
            ]
        )

    def read_ascend_inputs(self):
        for index, (name, second) in enumerate(self.ascend_inputs()):
            if second:
                yield f"SplitInHalves(in[{index}], {name}, {second});"
            else:
                yield f"{name} = std::move(in[{index}]);"

    def read_outputs(self):
        for tensor in self.outputs():
            condition = f"if ({tensor['if']}) " if "if" in tensor else ""
            yield f"{condition}{tensor['name']} = *out++;"

    def switches(self):
        return dict.fromkeys(tensor["if"] for tensor in self.info["outputs"] if "if" in tensor)

    def output_shapes(self):
        yield "Shapes shapes;"
        for tensor in self.outputs():
            lines = self.by_form(tensor["shape"], self.add_output_shape)
            yield from block(f"if ({tensor['if']})", lines) if self.may_lack(tensor) else lines
        yield "return shapes;"

    def may_lack(self, output):
        """Whether an output is there only where its attribute asks for it."""
        return "if" in output

    def add_output_shape(self, form):
        return f"shapes.push_back(OutputShape({self.extents_of(form)}));"

    def extents_of(self, form):
        return f"{{{', '.join(self.expression(dim) for dim in form.dims)}}}"

    def by_form(self, shape, statement, tensor=None):
        """Chooses by the attributes and then by the rank of `tensor`; where no form fits, the first one."""
        cases = []
        for condition, forms in language.branches(shape):
            chosen = []
            for form in forms[1:]:
                fits = [f"rank({tensor}) == {len(form.dims)}"] if tensor else []
                fits += [form.only_if] if form.only_if else []
                chosen.append((" and ".join(fits), [statement(form)]))
            cases.append((condition, list(self.choice([*chosen, (None, [statement(forms[0])])]))))
        yield from self.choice(cases)

    def choice(self, cases):
        """An if-else chain of (condition of op_info or None, lines)."""
        word = ""
        for condition, lines in cases:
            head = f"{word}if ({self.expression(condition)} == 1)" if condition else word.strip()
            yield from block(head, lines) if head else lines
            word = "else "

    def check_rules(self):
        for attribute in self.attributes():
            least = {"size": 1, "count": 0}.get(str(attribute.get("is")))
            if least is not None:
                yield f'CheckSize(kName, "{attribute["name"]}", {attribute["name"]}, {least});'
            if "choices" in attribute:
                yield f'CheckChoice(kName, "{attribute["name"]}", {attribute["name"]}, ' + "{{{}}});".format(
                    ", ".join(f'"{choice}"' for choice in attribute["choices"])
                )
        for tensor in self.info["inputs"]:
            if language.is_source(self.info, tensor["name"]) or not language.is_exact(self.info, tensor["shape"]):
                yield from self.check_rank(tensor)
        for condition, message in language.rules(self.info):
            yield self.check_rule(condition, message)
        for tensor in self.info["inputs"]:
            if language.is_exact(self.info, tensor["shape"]):
                yield from self.check_shape(tensor)
        yield from self.check_limits()

    def check_limits(self):
        yield "CheckLimits(kName, limits, LimitQuantities());"

    def check_rule(self, condition, message):
        return f"if ({self.expression(condition)} == 0) FailRule(kName, Join({self.message(message)}));"

    def message(self, text):
        parts = language.message(self.info, text)
        return ", ".join(
            f'"{part}"' if index % 2 == 0 else f"Text({part})" if isinstance(part, str) else cpp(part)
            for index, part in enumerate(parts)
            if part != ""
        )

    def check_rank(self, tensor):
        name, cases = tensor["name"], []
        for condition, forms in language.branches(tensor["shape"]):
            ranks = ", ".join(str(len(form.dims)) for form in forms)
            text = " or ".join(f"{len(form.dims)} {form.text}" for form in forms)
            cases.append((condition, [f'CheckRank(kName, "{name}", {name}, {{{ranks}}}, "{text}");']))
        absent_fits = tensor.get("optional") or tensor.get("given_as") == "lengths"
        yield from self.if_given(name, self.choice(cases)) if absent_fits else self.choice(cases)

    def check_shape(self, tensor):
        name = tensor["name"]
        lines = self.by_form(
            tensor["shape"],
            lambda form: f'CheckShape(kName, "{name}", {name}, "{form.text}", {self.extents_of(form)});',
            name,
        )
        yield from self.if_given(name, lines) if tensor.get("optional") else lines

    def if_given(self, name, lines):
        return block(f"if (Given({name}))", lines)

    def quantities(self):
        known = op_validation.quantities(self.info)
        yield "if (limits.empty()) return {};"
        yield "return {"
        for name, text in known.items():
            if name in {a["name"] for a in self.info["attributes"]} - {a["name"] for a in self.attributes()}:
                continue
            yield f'    {{"{name}", {self.expression(text) if text else "kUnknown"}}},'
        yield "};"

    def exports(self):
        """The functions of each combination of the optional outputs, and the inference of the Ascend operator."""
        suffixes = self.info.get("suffixes", {})
        for chosen in itertools.product((False, True), repeat=len(suffixes)):
            on = {name for name, asked in zip(suffixes, chosen) if asked}
            name = self.name + "".join(suffix for key, suffix in suffixes.items() if key in on)
            outputs = [tensor for tensor in self.outputs() if tensor.get("if") in (None, *on)]
            yield f"MS_NSA_KERNEL({name}, {self.name})"
            yield self.inference(name, outputs, "CpuShapes")
        if "ascend_name" in self.info:
            yield self.inference(self.info["ascend_name"], self.outputs("ascend"), "AscendShapes")

    def inference(self, name, outputs, shapes):
        joined = self.ascend_inputs() if shapes == "AscendShapes" else [(each, None) for each in self.inputs]
        same = f"in[{[each for each, _ in joined].index(self.info['dtype_of'])}]"
        types = [same if t["dtype"] == "T" else f"TypeId({TYPE_IDS[t['dtype'][0]]})" for t in outputs]
        count = "ONE" if len(outputs) == 1 else "SEVERAL"
        return f"MS_NSA_INFERENCE_OF_{count}({name}, {shapes}<ms_nsa::{self.name}>, ({{{', '.join(types)}}}))"


HEADER = """// Generated from op_info by generate.py.
#pragma once

#include <string>
#include <vector>

#include "call/attributes.h"
#include "call/element_type.h"
#include "call/extents.h"
#include "call/limits.h"
#include "call/tensor.h"
#include "runtime/short_calls.h"

namespace ms_nsa {
"""

SOURCE = """// Generated from op_info by generate.py.
#include "op_info.h"

#include <utility>

#include "call/operator.h"

namespace ms_nsa {

using namespace extent;

"""


EXPORTED = "{{\n  global: MsNsa*;{}\n  local: *;\n}};\n"


def load(folder, kind=Operator):
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        info = json.loads(path.read_text(encoding="utf-8"))
        op_validation.validate(info)
        if info["name"] != path.stem:
            raise RuntimeError(f"ms_nsa: {path} must name {path.stem}, got {info['name']}")
        yield kind(info)


def main(folder, output):
    operators, output = list(load(folder)), pathlib.Path(output)
    table = "".join(f"      OperatorOf<{operator.name}>(),\n" for operator in operators)
    known = f"""const std::vector<OperatorInfo>& Operators() {{
  static const std::vector<OperatorInfo> operators{{
{table}  }};
  return operators;
}}
"""
    files = {
        "op_info.h": HEADER + "".join(operator.struct() for operator in operators) + "\n}  // namespace ms_nsa\n",
        "op_info.cpp": SOURCE + "".join(o.definitions() for o in operators) + known + "\n}  // namespace ms_nsa\n",
        "exports.map": EXPORTED.format("".join(f" {operator.name}*;" for operator in operators)),
        "exports.inc": "\n".join(line for operator in operators for line in operator.exports()) + "\n",
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
