# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments. Every error reads ``<operator>: <argument> must <rule>, got <value>``.

This module checks constructor arguments, dtypes and lists of lengths. The rules about shapes are in op_info, because
graphs with dynamic shapes check them without Python; :func:`check_shapes` calls the library, which is built from them.
"""

import ctypes
import functools

import mindspore as ms
import numpy as np
from mindspore import ops

from ms_nsa import native, op_reader
from ms_nsa.primitive import first_error
from ms_nsa.registry import load, outputs

_LARGEST, _LARGEST_INT64 = 2**31 - 1, 2**63 - 1
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_MAX_OUTPUT_EXTENTS = 64
LENGTHS = "be a tuple, list or NumPy array of int, or an int32 or int64 Tensor"
_CAST_BEFORE = {"indices": ["int64"]}  # dtypes that Cells take besides those of op_info, by given_as


def fail(error, operator, argument, rule, value):
    """Raises `error` with the message in the common form."""
    raise error(f"{operator}: {argument} must {rule}, got {value!r}")


def _is_int(value):
    """True for ints of Python and NumPy; False for bool and for other types whose value equals an int."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _size(operator, argument, value, least):
    return size_up_to(_LARGEST, operator, argument, value, least)


def size_up_to(largest, operator, argument, value, least=1):
    """`value` as an int; raises an error unless it is an int from `least` to `largest`."""
    if not _is_int(value):
        fail(TypeError, operator, argument, "be an int", value)
    if not least <= value <= largest:
        fail(ValueError, operator, argument, f"be from {least} to {largest}", value)
    return int(value)


def _scale(operator, value):
    if value is None:
        return 1, 1.0
    if not _is_int(value) and not isinstance(value, (float, np.floating)):
        fail(TypeError, operator, "scale_value", "be a float or None", value)
    if not abs(value) <= _LARGEST_FLOAT32:
        fail(ValueError, operator, "scale_value", "be finite in float32", value)
    return 0, float(value)


def _choice(operator, argument, value, choices):
    """The element of `choices` that equals `value`. The type is checked first: no array or Tensor is compared."""
    fits = isinstance(value, str) if isinstance(choices[0], str) else _is_int(value)
    if not fits or value not in choices:
        fail(ValueError, operator, argument, "be " + " or ".join(map(repr, choices)), value)
    return choices[choices.index(value)]


def _limits(operator, limits):
    _choice(operator, "limits", limits, ("auto", "ascend"))
    device = "ascend" if limits == "ascend" else device_target()
    rules = "ascend_kernels" if limits == "auto" and device == "ascend" else device
    return device, ";".join(load(operator)["limits"][rules])


def device_target():
    """The current device: "cpu" or "ascend".

    Raises:
        RuntimeError: If MindSpore's device_target is another one.
    """
    target = ms.get_context("device_target").lower()
    if target not in ("cpu", "ascend"):
        fail(RuntimeError, "ms_nsa", "device_target", "be 'CPU' or 'Ascend'", target)
    return target


def operator_attributes(operator, limits, **given):
    """Checks the constructor arguments of an operator's Cell by its op_info.

    Args:
        operator (str): name of the operator.
        limits (str): the argument of that name.
        given (dict): the other arguments by name.

    Returns:
        tuple (attributes of the primitive by name, device whose dtypes and limits hold).
    """
    if device_target() == "ascend" and "ascend_name" not in load(operator):
        fail(RuntimeError, operator, "device_target", "be 'CPU'", "Ascend")
    device, limit_rules = _limits(operator, limits)
    attributes = {}
    for attribute in load(operator)["attributes"]:
        name = attribute["name"]
        if name == "scale_value":
            attributes["default_scale"], attributes[name] = _scale(operator, given[name])
        elif name in given:
            attributes[name] = _attribute(operator, attribute, given[name])
        if limits == "ascend" and not attribute.get("in_cann", True) and given[name]:
            fail(ValueError, operator, name, "be False within the limits of Ascend", given[name])
    attributes.update(limits=limit_rules, debug=int(first_error.wanted()))
    op_reader.check_attributes(operator, attributes)
    return attributes, device


def _attribute(operator, attribute, value):
    name, kind = attribute["name"], attribute.get("is")
    if "choices" in attribute:
        return _choice(operator, name, value, tuple(attribute["choices"]))
    if isinstance(kind, list):
        return _choice(operator, name, value, tuple(kind))
    if kind == "switch":
        return _switch(operator, name, value)
    return _size(operator, name, value, 0 if kind == "count" else 1)


def _switch(operator, argument, value):
    if not isinstance(value, (bool, np.bool_)):
        fail(TypeError, operator, argument, "be a bool", value)
    return int(value)


def check_dtypes(operator, device, dtypes):
    """Raises TypeError unless every input has a dtype that op_info allows; `dtypes` are MindSpore's names."""
    info = load(operator)
    inputs, master = info["inputs"], info["dtype_of"]
    same = dtypes[[tensor["name"] for tensor in inputs].index(master)]
    if same not in info["dtypes"][device]:
        fail_dtype(operator, master, info["dtypes"][device], same)
    for tensor, dtype in zip(inputs, dtypes):
        if tensor["dtype"] == "T" and dtype != same:
            raise TypeError(f"{operator}: {tensor['name']} must have the dtype of {master} ({same}), got {dtype}")
        if tensor["dtype"] != "T" and dtype not in tensor["dtype"]:
            fail_dtype(operator, tensor["name"], tensor["dtype"] + _CAST_BEFORE.get(tensor.get("given_as"), []), dtype)


def fail_dtype(operator, argument, allowed, dtype):
    """Raises TypeError for a dtype that is not among the allowed ones."""
    raise TypeError(f"{operator}: {argument} must have dtype {' or '.join(allowed)}, got {dtype}")


@functools.lru_cache(maxsize=4096)
def check_shapes(operator, attributes, shapes):
    """Raises ValueError unless ranks and extents are valid; returns the shapes of the CPU outputs.

    Args:
        operator (str): name of the operator.
        attributes (tuple): (name, value) pairs of the primitive.
        shapes (tuple): shape tuple of every input.
    """
    text = "\n".join(f"{name}={value}" for name, value in attributes)
    extents = [extent for shape in shapes for extent in shape]
    ndims = (ctypes.c_int * len(shapes))(*map(len, shapes))
    flat = (ctypes.c_int64 * len(extents))(*extents)
    out = (ctypes.c_int64 * _MAX_OUTPUT_EXTENTS)()
    arguments = (operator.encode(), text.encode(), len(shapes), ndims, flat, out, len(out))
    native.call(native.library().MsNsaCheckShapes, *arguments, error=ValueError)
    result, at = [], 0
    for _ in outputs(operator, "cpu", dict(attributes)):
        result.append(tuple(out[at + 1 : at + 1 + out[at]]))
        at += 1 + out[at]
    return tuple(result)


@functools.lru_cache(maxsize=256)
def _int64_tensor(values):
    return ms.Tensor(values, ms.int64)


@ops.constexpr
def lengths_tensor(operator, argument, values):
    """An int64 Tensor of a tuple or list of lengths; cached by their values."""
    for value in values:  # before the cache, in which True and 1.0 equal 1
        if not _is_int(value):
            fail(TypeError, operator, argument, "hold ints", value)
        if not -_LARGEST_INT64 <= value <= _LARGEST_INT64:
            fail(ValueError, operator, argument, "hold 64-bit ints", value)
    if not values:
        fail(ValueError, operator, argument, "hold at least one length", list(values))
    return _int64_tensor(tuple(values))


@ops.constexpr
def compressed_ends(ends, compress_block_size, compress_stride):
    """Prefix sums of compressed rows for a tuple or list of prefix sums of raw rows, as a tuple."""
    if not isinstance(ends, (tuple, list)) or not all(map(_is_int, ends)):
        fail(TypeError, "compressed_seq_lens", "actual_seq_kvlen", "be a tuple or list of int, or a Tensor", ends)
    return _compressed_ends(tuple(ends), compress_block_size, compress_stride)


def _compressed_ends(ends, compress_block_size, compress_stride):
    total, result = 0, []
    for start, end in zip((0, *ends), ends):
        rows = int(end - start - compress_block_size)
        total += rows // compress_stride + 1 if rows >= 0 else 0
        result.append(total)
    return tuple(result)


@functools.lru_cache(maxsize=256)
def _row_template(rows):
    return ms.Tensor(np.zeros(rows, np.uint8))


@ops.constexpr
def row_template(ends, compress_block_size, compress_stride):
    """A tensor with one element per compressed row; None if the lengths are invalid."""
    listed = isinstance(ends, (tuple, list)) or (is_int_array(ends) and ends.ndim == 1)
    if not listed or not len(ends) or not all(map(_is_int, ends)) or max(map(abs, ends)) > _LARGEST:
        return None
    return _row_template(_compressed_ends(tuple(ends), compress_block_size, compress_stride)[-1])


@ops.constexpr
def fail_tensor(operator, argument, value):
    """Raises TypeError for an input that is not a Tensor. It omits the value, which may be a long array."""
    raise TypeError(f"{operator}: {argument} must be a Tensor, got {type(value).__name__}")


def is_int_array(value):
    """True for NumPy's arrays of signed or unsigned ints."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def int64_of_array(array):
    """An int64 Tensor of an array of ints. Values beyond int64 become its largest value, an invalid length."""
    return ms.Tensor(np.minimum(array, _LARGEST_INT64).astype(np.int64))


@ops.constexpr
def other_lengths(operator, argument, value):
    """An int64 Tensor of an array of ints, which a Cell gets if it is a graph constant; otherwise raises TypeError."""
    return int64_of_array(value) if is_int_array(value) else fail(TypeError, operator, argument, LENGTHS, value)


@ops.constexpr
def fail_lengths(operator, argument, value):
    """Raises TypeError for lengths that are neither ints in a tuple, list or array nor an int32 or int64 Tensor."""
    fail(TypeError, operator, argument, LENGTHS, value)
