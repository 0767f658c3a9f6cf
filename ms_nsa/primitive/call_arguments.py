# SPDX-License-Identifier: Apache-2.0
"""Converts the arguments of a Cell to inputs of its primitive. Graph mode parses this module."""

import mindspore as ms
import numpy as np
from mindspore import ops
from mindspore.ops import PrimitiveWithInfer

from ms_nsa import checks
from ms_nsa.op_reader import ABSENT
from ms_nsa.primitive.inference import dtype_name

_LARGEST_INDEX = 2**31 - 1


class _InGraph(PrimitiveWithInfer):
    """False when Python runs it, the constant True when a graph is compiled."""

    def __init__(self):
        super().__init__("MsNsaInGraph")

    def __call__(self):
        return False

    def __infer__(self):
        return {"shape": (), "dtype": ms.bool_, "value": True}


in_graph = _InGraph()


def _absent_tensor(dtype):
    return ms.Tensor(np.zeros(ABSENT, np.float32), getattr(ms, dtype))


def absent(tensor):
    """The empty tensor that stands for an absent input of op_info; one per dtype where it has that of another."""
    if tensor["dtype"] == "T":
        return tuple(_absent_tensor(dtype) for dtype in ("float16", "bfloat16", "float32"))
    return _absent_tensor(tensor["dtype"][0])


def way_to_give(tensor):
    """How a user gives an input of op_info, "tensor", "optional", "indices" or "lengths", and what stands for None."""
    return tensor.get("given_as") or ("optional" if tensor.get("optional") else "tensor"), absent(tensor)


def dtypes_of(tensors):
    """Element types of tensors."""
    dtypes = ()
    for tensor in tensors:
        dtypes += (tensor.dtype,)
    return dtypes


def no_lengths():
    """The empty tensor that stands for absent sequence lengths."""
    return _absent_tensor("int64")


def as_input(operator, name, kind, value, absent_value, like):
    """An argument of a Cell as its primitive's input; an absent one gets the dtype of `like` where op_info says so."""
    if kind == "lengths":
        return as_lengths(operator, name, value, absent_value)
    if value is None and kind == "optional":
        return _absent_like(absent_value, like) if isinstance(absent_value, tuple) else absent_value
    if not isinstance(value, ms.Tensor):
        return checks.fail_tensor(operator, name, value)
    return as_indices(value) if kind == "indices" else value


def _absent_like(absent_values, like):
    if like.dtype == ms.float16:
        return absent_values[0]
    return absent_values[1] if like.dtype == ms.bfloat16 else absent_values[2]


def as_lengths(operator, argument, lengths, absent):
    """Turns sequence lengths as users give them into the primitive's int64 tensor."""
    if lengths is None:
        return absent
    if isinstance(lengths, (tuple, list)):
        return checks.lengths_tensor(operator, argument, lengths)
    if not isinstance(lengths, ms.Tensor):
        return checks.other_lengths(operator, argument, lengths)
    if lengths.dtype == ms.int64:
        return lengths
    if lengths.dtype == ms.int32:
        return ops.cast(lengths, ms.int64)
    return checks.fail_lengths(operator, argument, lengths.dtype)


def as_indices(topk_indices):
    """Turns int64 indices, which MindSpore's sorts give, into int32. Values that do not fit stay out of range."""
    if topk_indices.dtype != ms.int64:
        return topk_indices
    return ops.cast(ops.clamp(topk_indices, -_LARGEST_INDEX - 1, _LARGEST_INDEX), ms.int32)


def shapes_unknown(tensors):
    """True only while a graph is compiled in which one of the shapes is dynamic."""
    if not in_graph():
        return False
    for tensor in tensors:
        if ops.is_sequence_shape_unknown(tensor.shape) or ops.is_sequence_value_unknown(tensor.shape):
            return True
    return False


def is_absent(tensor):
    """Whether a tensor stands for an input that was not given."""
    if shapes_unknown((tensor,)):
        return False
    return tensor.shape == ABSENT


def row_template(tensor, ends, compress_block_size, compress_stride):
    """A tensor with one element per window of the rows of `tensor`; None while their number is unknown."""
    if ends is None:
        if not isinstance(tensor, ms.Tensor) or shapes_unknown((tensor,)) or tensor.ndim == 0:
            return None
        return checks.row_template((tensor.shape[0],), compress_block_size, compress_stride)
    if isinstance(ends, ms.Tensor):
        return None
    return checks.row_template(ends, compress_block_size, compress_stride)


@ops.constexpr
def check_dtypes(operator, device, dtypes):
    """Raises TypeError as the inference of known shapes does; without it MindSpore casts to what is registered."""
    checks.check_dtypes(operator, device, [dtype_name(dtype) for dtype in dtypes])
