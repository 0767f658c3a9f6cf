# SPDX-License-Identifier: Apache-2.0
"""The language of shapes, extents and rules in op_info. Every reader uses this parser.

This file imports nothing from the package, because the build also uses it and MindSpore may not be installed then.

Expressions are Python expressions of integers: ``+ - * //``, comparisons, ``and or not``, ``a if c else b``, ``min``
and ``max``. Names are attributes, extents, and ``unknown``. For a tensor there are ``query.N1`` (the dimension of that
name in its shape), ``query[0]`` (the dimension at that index), ``rank(query)``, ``size(query)`` (number of elements; 0
if absent) and ``given(query)``. An expression that depends on an unknown value is unknown.

A shape is a list of forms such as ``[T1, N1, D1]``. ``BSH [...], TND [...], else [...]`` chooses by the attribute
`layout`, and ``cache_layout=BNSD [...]`` by another attribute. ``[B, k] or [B] if S == 1`` chooses by the rank. A
dimension is an expression, a name that it defines (``H`` in ``query.H``), a product with such a name (``N2 * D``), or
words (``max Sq``).
"""

import ast
import re
from typing import NamedTuple

RELATIONS = ("max", "min", "multiple", "in")
DEVICES = ("cpu", "ascend")
FUNCTIONS = ("dim", "given", "max", "min", "rank", "size")
UNKNOWN = "unknown"

_FORM = re.compile(
    r"(?P<joint>^|, | or )(?:(?P<when>[\w=]+) )?\[(?P<dims>[^\]]*)\](?: if (?P<only>[^,\[]+?)(?=$|, | or \[))?"
)
_DIMENSION = re.compile(r"\b([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*)|\[(\d+)\])")
_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


class Form(NamedTuple):
    """One way to lay out a tensor: the texts of its dimensions, and the condition under which it may be used."""

    dims: tuple
    only_if: str = None

    @property
    def text(self):
        return f"[{', '.join(self.dims)}]"


def branches(shape):
    """The shape of an op_info entry as a list of (condition on attributes or None, forms of different ranks)."""
    found, end = [], 0
    for match in _FORM.finditer(shape):
        if match.start() != end:
            break
        end = match.end()
        dims = tuple(filter(None, (dim.strip() for dim in match["dims"].split(","))))
        if match["joint"] != " or ":
            found.append((_condition(match["when"]), []))
        found[-1][1].append(Form(dims, match["only"]))
    if end != len(shape) or not found:
        raise ValueError(f"shape {shape!r}")
    return found


def _condition(word):
    if word in (None, "else"):
        return None
    attribute, _, value = word.rpartition("=")
    return f"{attribute or 'layout'} == '{value}'"


def shape_names(shape):
    """Names in the dimensions of a shape that are expressions."""
    dims = [dim for _, forms in branches(shape) for form in forms for dim in form.dims if is_expression(dim)]
    return {name for dim in dims for name in names(ast.parse(dim, mode="eval"))}


def is_expression(dim):
    """False for words such as ``max Sq``, which stand for sizes that only values determine."""
    try:
        ast.parse(dim, mode="eval")
    except SyntaxError:
        return False
    return True


def names(tree):
    """Names in an expression, except those of functions."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def expression(info, text):
    """The tree of an expression in which every dimension is ``dim(tensor, position)``."""
    shapes = {tensor["name"]: tensor["shape"] for tensor in info["inputs"]}

    def replaced(match):
        tensor, symbol, position = match.groups()
        if tensor not in shapes:
            raise ValueError(f"input {tensor!r} in {text!r}")
        return f"dim({tensor}, {position})" if symbol is None else _dimension(shapes[tensor], tensor, symbol)

    return ast.parse(_DIMENSION.sub(replaced, text), mode="eval").body


def _dimension(shape, tensor, symbol):
    text, seen = UNKNOWN, False
    for condition, forms in reversed(branches(shape)):
        inner = UNKNOWN
        for form in reversed(forms):
            place = _place(form, tensor, symbol)
            if place:
                inner, seen = f"({place} if rank({tensor}) == {len(form.dims)} else {inner})", True
        text = inner if condition is None else f"({inner} if {condition} else {text})"
    if not seen:
        raise ValueError(f"dimension {symbol!r} of {tensor}")
    return text


def _place(form, tensor, symbol):
    for position, dim in enumerate(form.dims):
        factors = dim.split(" * ")
        if symbol in factors:
            others = [factor for factor in factors if factor != symbol]
            return f"dim({tensor}, {position})" + "".join(f" // {factor}" for factor in others)
    return None


def message(info, text):
    """The parts of a rule's message: texts, and expressions or names of tensors for its placeholders."""
    tensors = {tensor["name"] for tensor in info["inputs"]}
    parts = _PLACEHOLDER.split(text)
    return [
        part if index % 2 == 0 else (part if part in tensors else expression(info, part))
        for index, part in enumerate(parts)
    ]


def is_size(symbol):
    """The two conditions of "is a size". They keep the product of two sizes within 64 bits."""
    return f"{symbol} >= 1", f"{symbol} <= {2**31 - 1}"


def rules(info):
    """The rules of op_info as (condition, message) pairs; "is a size" is expanded."""
    for rule in info.get("rules", []):
        if isinstance(rule, str):
            argument, _, rest = rule.partition(" is a size")
            if rest or argument == rule:
                raise ValueError(f"rule {rule!r}")
            symbol = argument.split()[0]
            least, most = is_size(symbol)
            yield least, f"{argument} must be at least 1, got {{{symbol}}}"
            yield most, f"{argument} must be at most {2**31 - 1}, got {{{symbol}}}"
        else:
            yield tuple(rule)


def is_source(info, name):
    """Whether extents or rules use a dimension of this input. If so, its rank is checked first."""
    texts = [*info.get("extents", {}).values(), *(text for rule in rules(info) for text in rule)]
    pattern = re.compile(rf"\b{name}(\.[A-Za-z_]|\[)|\b(size|rank)\({name}\)")
    return any(pattern.search(text) for text in texts)


def is_exact(info, shape):
    """Whether every dimension follows from attributes and extents, so that the whole shape can be compared."""
    dims = [dim for _, forms in branches(shape) for form in forms for dim in form.dims]
    known = {attribute["name"] for attribute in info["attributes"]} | set(info.get("extents", {}))
    return all(map(is_expression, dims)) and shape_names(shape) <= known
