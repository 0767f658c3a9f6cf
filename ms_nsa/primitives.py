# SPDX-License-Identifier: Apache-2.0
"""Turns op_info into ``ops.Custom`` primitives.

Every operator has two primitives that differ only in shape inference: one with the named Python functions below, which
check the arguments and raise TypeError or ValueError, and one with the library's C++ functions, because a graph with
dynamic shapes cannot call Python ("The prim is not a PrimitivePy"). On Ascend each is wrapped in a Cell that is called
like the CPU's primitive.
"""

import itertools

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops import CustomRegOp, DataType, PrimitiveWithInfer

from ms_nsa import checks, first_error, native, registry, vendor
from ms_nsa.copies import CopyableCustom, copyable
from ms_nsa.cpu_kernel import CpuKernel, cpu_function
from ms_nsa.registry import load

_DATA_TYPES = {
    "float16": DataType.F16_Default,
    "bfloat16": DataType.BF16_Default,
    "float32": DataType.F32_Default,
    "int32": DataType.I32_Default,
    "int64": DataType.I64_Default,
    "uint8": DataType.U8_Default,
    "bool": DataType.BOOL_Default,
}

# Shape of the empty tensor that stands for None: far from any that an input may have, so that every tensor a user gives
# is checked, an empty one too (kAbsentRank in csrc/arguments.h).
_ABSENT = (0,) * 7

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
    return ms.Tensor(np.zeros(_ABSENT, np.float32), getattr(ms, dtype))


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


def row_template(tensor, ends, compress_block_size, compress_stride):
    """A tensor with as many elements as the rows of `tensor` have windows; None while that is not known."""
    if ends is None:
        if not isinstance(tensor, ms.Tensor) or shapes_unknown((tensor,)) or tensor.ndim == 0:
            return None
        return checks.row_template((tensor.shape[0],), compress_block_size, compress_stride)
    if isinstance(ends, ms.Tensor):
        return None
    return checks.row_template(ends, compress_block_size, compress_stride)


def as_indices(topk_indices):
    """Turns int64 indices, which MindSpore's sorts give, into int32: what does not fit stays out of range."""
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


def _dtype_name(dtype):
    """MindSpore's name of an element type, from the tensor type or the element type."""
    element = dtype.element_type() if hasattr(dtype, "element_type") else dtype
    return str(element).lower()


@ops.constexpr
def check_dtypes(operator, device, dtypes):
    """Raises TypeError as the inference of known shapes does; without it MindSpore casts to what is registered."""
    checks.check_dtypes(operator, device, [_dtype_name(dtype) for dtype in dtypes])


def _infer_functions(operator, attributes, device, target="cpu"):
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
        checks.check_dtypes(operator, device, [_dtype_name(dtype) for dtype in dtypes])
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


def _registration(operator, name, device, attributes=None):
    registration = CustomRegOp(name)
    for index, tensor in enumerate(registry.inputs(operator, device)):
        optional = device == "ascend" and tensor.get("optional")
        registration.input(index, tensor["name"], "optional" if optional else "required")
    for index, tensor in enumerate(registry.outputs(operator, device, attributes)):
        registration.output(index, tensor["name"], "required")
    return registration


def _dtype_rows(operator, device, attributes=None):
    """Every combination of dtypes, a row of DataType for inputs and outputs."""
    tensors = registry.inputs(operator, device) + registry.outputs(operator, device, attributes)
    for dtype in load(operator)["dtypes"][device]:
        choices = [[dtype] if tensor["dtype"] == "T" else tensor["dtype"] for tensor in tensors]
        for row in itertools.product(*choices):
            yield [_DATA_TYPES[name] for name in row]


def _cpu_registration(operator, attributes):
    registration = _registration(operator, registry.kernel_name(operator, attributes), "cpu", attributes)
    for attribute in registry.attributes(operator, "cpu"):
        name, kind = attribute["name"], attribute["type"]
        registration.attr(name, "required", kind, value=attributes[name])
    for row in _dtype_rows(operator, "cpu", attributes):
        registration.dtype_format(*row)
    return registration.target("CPU").get_op_info()


def _ascend_registration(operator):
    """Its attributes have no values here, since calls bring them as inputs behind the tensors."""
    registration = _registration(operator, load(operator)["ascend_name"], "ascend")
    for attribute in registry.attributes(operator, "ascend"):
        registration.attr(attribute["name"], "required", "int" if "choices" in attribute else attribute["type"])
    for row in _dtype_rows(operator, "ascend"):
        registration.dtype_format(*row)
    return registration.target("Ascend").get_op_info()


class _AscendNode(nn.Cell):
    """A graph of one operator of the vendor package; with its attributes, which MindSpore takes as inputs.

    PyNative mode runs this graph: MindSpore takes inputs that are no tensors, or more than twelve tensors with the
    outputs, in compiled graphs only.
    """

    def __init__(self, primitive, values):
        super().__init__(auto_prefix=False)
        self._primitive = primitive
        self._values = values

    @ms.jit
    def construct(self, *tensors):
        return self._primitive(*tensors, *self._values)


class _AscendGradNode(_AscendNode):
    """The gradient operator, which takes the lengths of queries and keys as one tensor."""

    @ms.jit
    def construct(self, *tensors):
        lengths = join_lengths(tensors[-4], tensors[-3], tensors[1], tensors[2])
        return self._primitive(*tensors[:-4], lengths, tensors[-2], tensors[-1], *self._values)


def is_absent(tensor):
    """Whether a tensor stands for an input that was not given."""
    if shapes_unknown((tensor,)):
        return False
    return tensor.shape == _ABSENT


def join_lengths(actual_seq_qlen, actual_seq_kvlen, query, key):
    """Prefix sums of the query lengths, then of the key lengths; empty if both are absent.

    Where one is absent there is one sequence, of all tokens.
    """
    if is_absent(actual_seq_qlen) and not is_absent(actual_seq_kvlen):
        actual_seq_qlen = actual_seq_kvlen * 0 + query.shape[0]
    if is_absent(actual_seq_kvlen) and not is_absent(actual_seq_qlen):
        actual_seq_kvlen = actual_seq_qlen * 0 + key.shape[0]
    if is_absent(actual_seq_qlen):
        return actual_seq_qlen
    return ops.concat((actual_seq_qlen, actual_seq_kvlen))


class _AscendKernel(nn.Cell):
    """An operator of the vendor package, called like the CPU's primitive and giving what it gives.

    The operator has all of its outputs in every call, and one more, first_error. With MS_NSA_DEBUG a call in PyNative
    mode reads it, which waits for the kernel; a compiled graph has nobody to raise an error, and drops it.
    """

    def __init__(self, operator, node, attributes, gradient=None):
        super().__init__(auto_prefix=False)
        self._node = node
        self._operator = operator
        self._debug = bool(attributes["debug"])
        self._layout = attributes.get("layout")
        self._outputs = len(registry.outputs(operator, "cpu", attributes))

    def construct(self, *tensors):
        return self._results(self._node(*tensors))

    def _results(self, outputs):
        if self._debug and not in_graph():
            first_error.check(self._operator, outputs[-1], self._layout)
        return outputs[: self._outputs] if self._outputs > 1 else outputs[0]


class _AscendForward(_AscendKernel):
    """The forward operator: a primitive whose attributes are inputs would owe gradients for them, a Cell does not."""

    def __init__(self, operator, node, attributes, gradient=None):
        super().__init__(operator, node, attributes)
        self._gradient = gradient
        self._bprop = _bprop(gradient)

    def __getstate__(self):
        base, state = super().__getstate__()
        return base, {name: value for name, value in state.items() if name != "_bprop"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._bprop = _bprop(self._gradient)

    def construct(self, query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen):
        tensors = query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen
        return self._results(self._node(*tensors))

    def bprop(self, query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout):
        return self._bprop(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout)


_ASCEND_NODES = {"NsaSelectAttentionGrad": _AscendGradNode}
_ASCEND_CELLS = {"NsaSelectAttention": _AscendForward}


def _bprop(gradient):
    """The gradient function of a primitive; made here because Graph mode wants a function, and those do not pickle."""
    if gradient is None:
        return None
    make_bprop, given = gradient
    return make_bprop(given)


@copyable
def _ascend_primitive(operator, attributes, device, known):
    """Inference in C++ is the CPU library's, which knows the operator by its Ascend name too."""
    function = f"{native.library_path()}:{load(operator)['ascend_name']}"
    registration = _ascend_registration(operator)
    infer_functions = _infer_functions(operator, attributes, device, "ascend") if known else (None, None)
    primitive = CopyableCustom(function, *infer_functions, "aot", None, registration)
    for name, value in attributes.items():
        primitive.add_prim_attr(name, value)
    return primitive


def _make_ascend(operator, attributes, device, gradient):
    wrong = vendor.activate()
    if wrong:
        raise RuntimeError(wrong)
    values = registry.ascend_values(operator, attributes)
    node, cell = _ASCEND_NODES.get(operator, _AscendNode), _ASCEND_CELLS.get(operator, _AscendKernel)
    primitives = [_ascend_primitive(operator, attributes, device, known) for known in (True, False)]
    return tuple(cell(operator, node(primitive, values), attributes, gradient) for primitive in primitives)


@copyable
def _cpu_primitive(operator, attributes, device, gradient, known):
    registration = _cpu_registration(operator, attributes)
    further = "aot", _bprop(gradient), registration
    if not known:
        return CopyableCustom(cpu_function(operator, attributes), None, None, *further)
    return CpuKernel(operator, attributes, *_infer_functions(operator, attributes, device), *further)


def make(operator, attributes, device, gradient=None):
    """Builds the primitives of an operator for the device in use.

    Args:
        operator (str): name of the operator, as in op_info.
        attributes (dict): values of the primitive's attributes.
        device (str): whose dtypes are accepted, "cpu" or "ascend".
        gradient (tuple, optional): a function that makes the primitive's gradient function, and what it is given.

    Returns:
        tuple of what is called with the inputs of op_info: for known shapes, and for graphs with dynamic shapes.

    Raises:
        RuntimeError: If the device in use is Ascend and this installation has no kernels that fit.
    """
    if checks.device_target() == "ascend":
        return _make_ascend(operator, attributes, device, gradient)
    return tuple(_cpu_primitive(operator, attributes, device, gradient, known) for known in (True, False))
