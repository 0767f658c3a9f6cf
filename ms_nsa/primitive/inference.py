# SPDX-License-Identifier: Apache-2.0
"""Inference of shapes and dtypes in Python, for primitives whose shapes are known."""

import mindspore as ms

from ms_nsa import checks, registry
from ms_nsa.primitive import first_error
from ms_nsa.registry import load


def dtype_name(dtype):
    """MindSpore's name of an element type, from the tensor type or the element type."""
    element = dtype.element_type() if hasattr(dtype, "element_type") else dtype
    return str(element).lower()


def infer_functions(operator, attributes, device, target="cpu"):
    """Shape and dtype inference of the primitive for `target`; `device` is whose dtypes are accepted."""
    if target == "ascend":
        attributes = registry.with_all_outputs(operator, attributes)
    pairs = tuple(attributes.items())
    separate = _separate(operator, target)
    further = () if target == "cpu" else (first_error.SHAPE,)

    def infer_shape(*shapes):
        result = checks.check_shapes(operator, pairs, separate(tuple(map(tuple, shapes)), _halves)) + further
        return result if len(result) > 1 else result[0]

    def infer_dtype(*dtypes):
        dtypes = separate(dtypes, _twice)
        checks.check_dtypes(operator, device, [dtype_name(dtype) for dtype in dtypes])
        return _output_dtypes(registry.outputs(operator, target, attributes), operator, dtypes)

    return infer_shape, infer_dtype


def _halves(shape):
    first, *rest = shape
    return (first // 2, *rest), (first - first // 2, *rest)


def _twice(dtype):
    return dtype, dtype


def _separate(operator, target):
    """A function that turns what is known of a primitive's inputs into what is known of the CPU's.

    It is given a function that does so for an input that joins two. Attributes, which an Ascend primitive has behind
    its inputs, are dropped.
    """
    joins = ["joins" in tensor for tensor in registry.inputs(operator, target)]

    def separate(known, split):
        result = []
        for joined, item in zip(joins, known):
            result.extend(split(item) if joined else (item,))
        return tuple(result)

    return separate


def _output_dtypes(outputs, operator, dtypes):
    info = load(operator)
    same = dtypes[[tensor["name"] for tensor in info["inputs"]].index(info["dtype_of"])]
    kinds = [tensor["dtype"] for tensor in outputs]
    result = tuple(same if kind == "T" else getattr(ms, kind[0]) for kind in kinds)
    return result if len(result) > 1 else result[0]
