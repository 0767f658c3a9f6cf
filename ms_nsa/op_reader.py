# SPDX-License-Identifier: Apache-2.0
"""Evaluates op_info in Python. The build translates op_info to C++ (csrc/generate.py); a test compares the two."""

import ast
import functools
import operator as operators

from ms_nsa import op_language as language
from ms_nsa.registry import load

ABSENT = (0,) * 7  # shape of the empty tensor that stands for None (kAbsentRank in csrc/call/tensor.h)

_BINARY = {
    ast.Add: operators.add,
    ast.Sub: operators.sub,
    ast.Mult: operators.mul,
    ast.FloorDiv: operators.floordiv,
    ast.Mod: operators.mod,
}
_COMPARISONS = {
    ast.Eq: operators.eq,
    ast.NotEq: operators.ne,
    ast.Lt: operators.lt,
    ast.LtE: operators.le,
    ast.Gt: operators.gt,
    ast.GtE: operators.ge,
}


def _and(values):
    return False if any(value is False for value in values) else None if None in values else True


def _call(function, arguments):
    """A function of the language; a tensor is its shape."""
    if function in ("min", "max"):
        return None if None in arguments else {"min": min, "max": max}[function](arguments)
    shape, *position = arguments
    absent = shape == ABSENT
    if function == "given":
        return not absent
    if function == "rank":
        return 0 if absent else len(shape)
    if function == "size":
        return None if min(shape, default=1) < 0 else functools.reduce(operators.mul, shape, 1)
    return shape[position[0]] if position[0] < len(shape) and shape[position[0]] >= 0 else None


def evaluate(node, values):
    """Value of an expression, None if it is unknown; `values` are attributes, extents and shapes by name."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return None if node.id == language.UNKNOWN else values[node.id]
    if isinstance(node, ast.IfExp):
        condition = evaluate(node.test, values)
        return None if condition is None else evaluate(node.body if condition else node.orelse, values)
    if isinstance(node, ast.BoolOp):
        found = [evaluate(value, values) for value in node.values]
        if isinstance(node.op, ast.And):
            return _and(found)
        return _not(_and([_not(value) for value in found]))
    if isinstance(node, ast.UnaryOp):
        return _not(evaluate(node.operand, values))
    if isinstance(node, ast.Call):
        return _call(node.func.id, [evaluate(argument, values) for argument in node.args])
    left, right, apply = _sides(node)
    left, right = evaluate(left, values), evaluate(right, values)
    division = apply in (operators.floordiv, operators.mod)
    return None if left is None or right is None or (division and right == 0) else apply(left, right)


def _not(value):
    return None if value is None else not value


def _sides(node):
    if isinstance(node, ast.BinOp):
        return node.left, node.right, _BINARY[type(node.op)]
    return node.left, node.comparators[0], _COMPARISONS[type(node.ops[0])]


@functools.cache
def _tree(operator, text):
    return language.expression(load(operator), text)


def value(operator, text, values):
    """Value of an expression of the operator's op_info."""
    return evaluate(_tree(operator, text), values)


def values(operator, attributes, shapes):
    """Attributes, extents, and shapes of the inputs, by name; MindSpore's -1 is an unknown extent."""
    info = load(operator)
    known = {**attributes, **{tensor["name"]: shape for tensor, shape in zip(info["inputs"], shapes)}}
    for name, text in info["extents"].items():
        known[name] = value(operator, text, known)
    return known


def work(operator, attributes, shapes):
    """Amount of work of a call as op_info counts it, -1 if it is unknown."""
    counted = load(operator).get("work")
    if counted is None:
        return -1
    found = value(operator, counted.get("pairs", counted.get("rows")), values(operator, attributes, shapes))
    return -1 if found is None else found


def work_inputs(operator):
    """Positions of the inputs on whose shapes the work depends."""
    info = load(operator)
    names = [tensor["name"] for tensor in info["inputs"]]
    pending, seen = [text for text in info.get("work", {}).values() if isinstance(text, str)], set()
    while pending:
        for name in language.names(_tree(operator, pending.pop())) - seen:
            seen.add(name)
            pending += [info["extents"][name]] if name in info["extents"] else []
    return [index for index, name in enumerate(names) if name in seen]


def check_attributes(operator, attributes):
    """Raises ValueError for the first rule about attributes alone that does not hold."""
    info = load(operator)
    for condition, message in language.rules(info):
        if language.names(language.expression(info, condition)) <= set(attributes):
            check_rule(operator, condition, message, attributes)


def check_rule(operator, condition, message, known):
    if value(operator, condition, known) is False:
        raise ValueError(f"{operator}: {_sentence(operator, message, known)}")


def _sentence(operator, message, known):
    parts = language.message(load(operator), message)
    for index in range(1, len(parts), 2):
        part = parts[index]
        parts[index] = list(known[part]) if isinstance(part, str) else evaluate(part, known)
    return "".join(map(str, parts))
