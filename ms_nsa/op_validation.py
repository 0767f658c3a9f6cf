# SPDX-License-Identifier: Apache-2.0
"""Validates an op_info file. An undefined name stops the build and the import."""

import ast
import re

if __package__:
    from ms_nsa import op_language as language
else:  # the build, which imports files and not the package
    import op_language as language

_KEYS = {
    "file": "name ascend_name dtypes dtype_of inputs joined_on_ascend outputs extents rules work quantities "
    "value_quantities attributes suffixes limits",
    "inputs": "name dtype shape optional given_as",
    "outputs": "name dtype shape devices if",
    "attributes": "name type is choices devices in_cann",
}
_REQUIRED = ("name", "dtypes", "dtype_of", "inputs", "outputs", "extents", "attributes", "limits")
_DTYPES = ("float16", "bfloat16", "float32", "int32", "int64", "uint8", "bool")
_TYPES = ("int", "float", "str")
_GIVEN_AS = ("lengths", "indices")


def validate(info):
    """Raises RuntimeError for the first entry of `info` that no reader understands."""
    try:
        _check_keys(info)
        _check_entries(info)
        _check_expressions(info)
        _check_limits(info)
        if "ascend_name" in info:
            _check_ascend(info)
    except (KeyError, SyntaxError, ValueError) as error:
        raise RuntimeError(f"ms_nsa: op_info/{info.get('name')}.json must be understood, got {error}") from error


def _require(holds, what, got):
    if not holds:
        raise ValueError(f"{what} {got!r}")


def _check_keys(info):
    for key in _REQUIRED:
        _require(key in info, "no", key)
    for key in info:
        _require(key in _KEYS["file"].split(), "key", key)
    for part in ("inputs", "outputs", "attributes"):
        for item in info[part]:
            for key in item:
                _require(key in _KEYS[part].split(), f"key of {part}", key)


def _check_entries(info):
    names = [item["name"] for part in ("inputs", "outputs", "attributes") for item in info[part]]
    names += info["extents"]
    for name in names:
        _require(name.isidentifier() and names.count(name) == 1, "name", name)
    attributes = {attribute["name"]: attribute for attribute in info["attributes"]}
    for attribute in attributes.values():
        _require(attribute["type"] in _TYPES, "type", attribute["type"])
        kind = attribute.get("is")
        _require(isinstance(kind, list) or kind in (None, "size", "count", "switch"), "is", kind)
    for tensor in info["inputs"] + info["outputs"]:
        kinds = list(info["dtypes"]["cpu"]) if tensor["dtype"] == "T" else tensor["dtype"]
        _require(set(kinds) <= set(_DTYPES), "dtype", kinds)
        _require(tensor.get("given_as") in (None, *_GIVEN_AS), "given_as", tensor.get("given_as"))
    for item in info["outputs"] + info["attributes"]:
        _require(set(item.get("devices", ())) <= set(language.DEVICES), "devices", item.get("devices"))
        _require(item.get("if") in (None, *attributes), "if", item.get("if"))
    _require("limits" in attributes, "no attribute", "limits")
    _require(info["dtype_of"] in {tensor["name"] for tensor in info["inputs"]}, "dtype_of", info["dtype_of"])


def _check_expressions(info):
    known = {attribute["name"] for attribute in info["attributes"]} | {language.UNKNOWN}
    for name, text in info["extents"].items():
        _check_expression(info, text, known)
        known.add(name)
    for condition, message in language.rules(info):
        _check_expression(info, condition, known)
        for part in language.message(info, message)[1::2]:
            if isinstance(part, ast.AST):
                _check_tree(info, part, known, message)
    work = info.get("work", {"pairs": "0", "joined": False})
    _require(set(work) in ({"pairs", "joined"}, {"rows", "joined"}), "work", work)
    for text in [work.get("pairs", work.get("rows")), *info.get("quantities", {}).values()]:
        _check_expression(info, text, known)
    for tensor in info["inputs"] + info["outputs"]:
        _check_shape(info, tensor, known)


def _check_expression(info, text, known):
    _check_tree(info, language.expression(info, text), known, text)


def _check_tree(info, tree, known, text):
    tensors = {tensor["name"] for tensor in info["inputs"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _require(node.func.id in language.FUNCTIONS, f"function in {text!r}:", node.func.id)
            if node.func.id not in ("min", "max"):
                _require(node.args[0].id in tensors, f"input in {text!r}:", ast.unparse(node))
    for name in language.names(tree) - tensors:
        _require(name in known, f"name in {text!r}:", name)


def _check_shape(info, tensor, known):
    """A dimension name of a single tensor must be written with that tensor; otherwise it is taken as misspelled."""
    texts = [*info["extents"].values(), *(condition for condition, _ in language.rules(info))]
    for name in language.shape_names(tensor["shape"]) - known:
        asked = any(re.search(rf"\b{tensor['name']}\.{name}\b", text) for text in texts)
        _require(asked, f"dimension of {tensor['name']}:", name)
    for condition, forms in language.branches(tensor["shape"]):
        for text in filter(None, [condition, *(form.only_if for form in forms)]):
            _check_expression(info, text, known)


def quantities(info):
    """Names that limits may use, each with its expression, or None if only values determine it."""
    numbers = {a["name"]: a["name"] for a in info["attributes"] if a["type"] == "int"}
    extents = {name: name for name in info["extents"]}
    return {**extents, **numbers, **info.get("quantities", {}), **dict.fromkeys(info.get("value_quantities", ()))}


def _check_limits(info):
    known = quantities(info)
    for rule in [rule for rules in info["limits"].values() for rule in rules]:
        name, relation, *operands = rule.split()
        _require(name in known, f"quantity in {rule!r}:", name)
        _require(relation in language.RELATIONS, f"relation in {rule!r}:", relation)
        _require(operands and (relation == "in" or len(operands) == 1), "operands of", rule)
        for operand in operands:
            _require(operand.isdigit() or operand in known, f"operand in {rule!r}:", operand)


def _check_ascend(info):
    """Every Ascend operator needs the attribute `debug`, the output `first_error` and the limits of its kernels."""
    for part, name in (("attributes", "debug"), ("outputs", "first_error")):
        found = [item.get("devices") for item in info[part] if item["name"] == name]
        _require(found == [["ascend"]], f"devices of {name} on Ascend:", found)
    _require(info["outputs"][-1]["name"] == "first_error", "last output", info["outputs"][-1]["name"])
    _require("ascend_kernels" in info["limits"], "no limits", "ascend_kernels")
