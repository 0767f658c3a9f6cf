# SPDX-License-Identifier: Apache-2.0
"""op_info has one meaning: Python's reader and the C++ made of it agree, and what neither understands is refused."""

import copy
import ctypes

import numpy as np
import pytest

from ms_nsa import checks, native, op_reader, op_shapes, registry
from ms_nsa.op_validation import validate
from support.malformed import CALLS, GOOD

ATTRIBUTES = {
    "layout": "BSND",
    "sparse_mode": 0,
    "default_scale": 1,
    "scale_value": 1.0,
    "debug": 0,
    "return_softmax_lse": 1,
    "cache_layout": "BSND",
}


def shape_of(value):
    if value is None:
        return op_reader.ABSENT
    return (len(value),) if isinstance(value, (tuple, list)) else tuple(value.shape)


def arguments(operator, attributes, inputs):
    names = [attribute["name"] for attribute in registry.load(operator)["attributes"]]
    given = {**ATTRIBUTES, **attributes, "limits": ""}
    shapes = tuple(shape_of(inputs.get(tensor["name"])) for tensor in registry.load(operator)["inputs"])
    return {name: given[name] for name in names}, shapes


def outcomes(operator, attributes, shapes):
    """Shapes or the error's sentence, of the library and of Python's reader."""
    found = []
    for infer in (lambda: checks.check_shapes(operator, tuple(attributes.items()), shapes),
                  lambda: op_shapes.output_shapes(operator, attributes, shapes)):  # fmt: skip
        try:
            found.append(infer())
        except ValueError as error:
            found.append(str(error))
    return found


def is_readable(operator, attributes):
    """Whether the Cell could have made a primitive with these attributes."""
    for attribute in registry.load(operator)["attributes"]:
        value = attributes[attribute["name"]]
        if attribute["type"] == "int" and (type(value) is not int or value >= 2**31):
            return False
        if value not in attribute.get("choices", [value]):
            return False
    return True


def test_both_readers_judge_malformed_calls_alike():
    sentences = set()
    for call in CALLS:
        if call.error is TypeError:
            continue
        attributes, shapes = arguments(call.operator, call.attributes, call.inputs)
        if not is_readable(call.operator, attributes):
            continue
        library, python = outcomes(call.operator, attributes, shapes)
        assert library == python, call.sentence
        sentences.add(str(python))
    assert len(sentences) > 150


@pytest.mark.parametrize("operator", GOOD)
def test_both_readers_infer_unknown_extents_alike(operator):
    rng = np.random.default_rng(5)
    attributes, shapes = arguments(operator, *GOOD[operator])
    for _ in range(50):
        unknown = tuple(tuple(-1 if rng.random() < 0.3 else extent for extent in shape) for shape in shapes)
        library, python = outcomes(operator, attributes, unknown)
        assert library == python


def test_output_shapes_do_not_leave_their_buffer():
    attributes, shapes = arguments("NsaSelectAttention", *GOOD["NsaSelectAttention"])
    text = "\n".join(f"{name}={value}" for name, value in attributes.items()).encode()
    ndims = (ctypes.c_int * len(shapes))(*map(len, shapes))
    extents = [extent for shape in shapes for extent in shape]
    flat, out = (ctypes.c_int64 * len(extents))(*extents), (ctypes.c_int64 * 12)(*[7] * 12)
    given = (b"NsaSelectAttention", text, len(shapes), ndims, flat, out)
    with pytest.raises(ValueError, match="output shapes must fit into 11 numbers, got 12"):
        native.call(native.library().MsNsaCheckShapes, *given, 11, error=ValueError)
    assert list(out) == [7] * 12
    native.call(native.library().MsNsaCheckShapes, *given, 12, error=ValueError)


@pytest.mark.parametrize(("limits", "sentence"), [
    ("B max 9;D3 max 5", 'limits must name known quantities in "D3 max 5", got D3'),
    ("D1 max D3", 'limits must name known quantities in "D1 max D3", got D3'),
    ("D1 least 5", 'limits must name known relations in "D1 least 5", got least'),
    ("D1 min 5;D1 min 6", "D1 must be at least 6 within the limits asked for, got 5"),
])  # fmt: skip
def test_the_library_refuses_limits_that_it_does_not_know(limits, sentence):
    attributes, shapes = arguments("NsaSelectAttention", *GOOD["NsaSelectAttention"])
    with pytest.raises(ValueError) as error:
        checks.check_shapes("NsaSelectAttention", tuple({**attributes, "limits": limits}.items()), shapes)
    assert str(error.value) == f"NsaSelectAttention: {sentence}"


@pytest.mark.parametrize(("operator", "sentence"), [
    ("NsaSelect", "ms_nsa: operator must be one of op_info, got NsaSelect"),
    ("NsaSelectAttention", "NsaSelectAttention: inputs must be 7, got 0"),
])  # fmt: skip
def test_the_library_refuses_operators_that_it_does_not_know(operator, sentence):
    zeros = (ctypes.c_int * 1)(), (ctypes.c_int64 * 1)(), (ctypes.c_int64 * 1)()
    with pytest.raises(ValueError) as error:
        native.call(native.library().MsNsaCheckShapes, operator.encode(), b"", 0, *zeros, 1, error=ValueError)
    assert str(error.value) == sentence


@pytest.mark.parametrize("change", [
    lambda info: info.update(rulez=[]),
    lambda info: info["inputs"][0].update(shape="[T1, N1, D7]"),
    lambda info: info["inputs"][0].update(shape="[T1, N1, D1"),
    lambda info: info["outputs"][0].update(shape="[T1, N1, D7]"),
    lambda info: info["outputs"][0].update(devices=["gpu"]),
    lambda info: info["inputs"][0].update(optionl=True),
    lambda info: info["extents"].update(G="N1 // N7"),
    lambda info: info["extents"].update(G="query.H // N2"),
    lambda info: info["extents"].update(G="log(N1)"),
    lambda info: info["rules"].append(["N1 <= 4", "N1 must be at most 4, got {N7}"]),
    lambda info: info["rules"].append("N2 of key is small"),
    lambda info: info["work"].update(pairs="T1 * heads"),
    lambda info: info["limits"]["cpu"].append("D3 max 5"),
    lambda info: info["limits"]["cpu"].append("D1 least 5"),
    lambda info: info["limits"]["cpu"].append("D1 max D3"),
    lambda info: info["limits"]["cpu"].append("D1 max 5 6"),
    lambda info: info["attributes"][0].update({"is": "sise"}),
    lambda info: info.update(dtype_of="querry"),
    lambda info: info.pop("extents"),
    lambda info: info["attributes"].pop(),
    lambda info: info["outputs"].pop(),
    lambda info: info["outputs"].insert(0, info["outputs"].pop()),
    lambda info: info["limits"].pop("ascend_kernels"),
])  # fmt: skip
def test_op_info_that_nobody_understands_stops_the_import_and_the_build(change):
    info = copy.deepcopy(registry.load("NsaSelectAttention"))
    validate(info)
    change(info)
    with pytest.raises(RuntimeError, match=r"^ms_nsa: op_info/NsaSelectAttention.json must be understood, got "):
        validate(info)
