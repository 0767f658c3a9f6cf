"""Turns op_info into ``ops.Custom`` primitives.

Every operator has two primitives that differ only in shape inference: one with the named Python functions below, which
check the arguments and raise TypeError or ValueError, and one with the library's C++ functions, because a graph with
dynamic shapes cannot call Python ("The prim is not a PrimitivePy").
"""

import itertools

import mindspore as ms
import numpy as np
from mindspore import ops
from mindspore.ops import CustomRegOp, DataType, PrimitiveWithInfer

from ms_nsa import backend, checks
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

_ROWS_TO_AWAIT = 1 << 17  # selected key rows of a call; the kernels take about 2 to 30 ns for each
_PATIENCE_MS = 200  # for a call that failed before its kernel started


class _InGraph(PrimitiveWithInfer):
    """False when Python runs it, the constant True when a graph is compiled."""

    def __init__(self):
        super().__init__("MsNsaInGraph")

    def __call__(self):
        return False

    def __infer__(self):
        return {"shape": (), "dtype": ms.bool_, "value": True}


in_graph = _InGraph()


def no_mask():
    """The empty tensor that stands for an absent atten_mask."""
    return ms.Tensor(np.zeros((0, 0), np.uint8))


def no_lengths():
    """The empty tensor that stands for absent sequence lengths."""
    return ms.Tensor(np.zeros((0,), np.int64))


def check_tensors(operator, names, inputs):
    """Raises TypeError unless every input is a Tensor."""
    for name, tensor in zip(names, inputs):
        if not isinstance(tensor, ms.Tensor):
            checks.fail_tensor(operator, name, tensor)


def as_lengths(operator, argument, lengths, absent):
    """Turns sequence lengths as users give them into the primitive's int64 tensor."""
    if lengths is None:
        return absent
    if isinstance(lengths, (tuple, list)):
        return checks.lengths_tensor(operator, argument, lengths)
    if not isinstance(lengths, ms.Tensor):
        return checks.fail_lengths(operator, argument, lengths)
    if lengths.dtype == ms.int32:
        return ops.cast(lengths, ms.int64)
    if lengths.dtype != ms.int64:
        return checks.fail_lengths(operator, argument, lengths.dtype)
    return lengths


def shapes_unknown(*shapes):
    """True only while a graph is compiled in which one of the shapes is dynamic."""
    if not in_graph():
        return False
    for shape in shapes:  # noqa: SIM110, a generator does not compile in graph mode
        if ops.is_sequence_shape_unknown(shape) or ops.is_sequence_value_unknown(shape):
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


def _infer_functions(operator, attributes, device):
    pairs = tuple(attributes.items())

    def infer_shape(*shapes):
        result = checks.check_shapes(operator, pairs, tuple(map(tuple, shapes)))
        return result if len(result) > 1 else result[0]

    def infer_dtype(*dtypes):
        checks.check_dtypes(operator, device, [_dtype_name(dtype) for dtype in dtypes])
        return _output_dtypes(operator, dtypes)

    return infer_shape, infer_dtype


def _output_dtypes(operator, dtypes):
    info = load(operator)
    query = dtypes[[tensor["name"] for tensor in info["inputs"]].index("query")]
    result = tuple(query if tensor["dtype"] == "T" else ms.float32 for tensor in info["outputs"])
    return result if len(result) > 1 else result[0]


def _registration(operator, attributes, device):
    info = load(operator)
    registration = CustomRegOp(operator)
    for index, tensor in enumerate(info["inputs"]):
        registration.input(index, tensor["name"])
    for index, tensor in enumerate(info["outputs"]):
        registration.output(index, tensor["name"])
    for attribute in info["attributes"]:
        name, kind = attribute["name"], attribute["type"]
        registration.attr(name, "required", kind, value=attributes[name])
    for row in _dtype_rows(info, device):
        registration.dtype_format(*row)
    return registration.target(device.upper()).get_op_info()


def _dtype_rows(info, device):
    """Every combination of dtypes, a row of DataType for inputs and outputs."""
    tensors = info["inputs"] + info["outputs"]
    for dtype in info["dtypes"][device]:
        choices = [[dtype] if tensor["dtype"] == "T" else tensor["dtype"] for tensor in tensors]
        for row in itertools.product(*choices):
            yield [_DATA_TYPES[name] for name in row]


class _CpuKernel(ops.Custom):
    """A primitive whose large calls in PyNative mode sleep until the kernel has ended.

    MindSpore's readers of a result wait in a busy loop, which takes a core away from a kernel that uses all of them.
    Small calls return at once, so that Python prepares the next call meanwhile.
    """

    def __init__(self, operator, attributes, *args):
        super().__init__(f"{backend.library_path()}:{operator}", *args)
        names = [tensor["name"] for tensor in load(operator)["inputs"]]
        self._indices_at = names.index("topk_indices")
        self._indices_to_await = _ROWS_TO_AWAIT // attributes["select_block_size"]

    def __call__(self, *inputs):
        if inputs[self._indices_at].size < self._indices_to_await:
            return super().__call__(*inputs)
        library = backend.library()
        ended = library.MsNsaEndedRuns()
        outputs = super().__call__(*inputs)
        library.MsNsaAwaitRun(ended, _PATIENCE_MS)
        return outputs


def make(operator, attributes, device, bprop=None):
    """Builds the primitives of an operator for the device in use.

    Args:
        operator (str): name of the operator, as in op_info.
        attributes (dict): values of the primitive's attributes.
        device (str): whose dtypes are accepted, "cpu" or "ascend".
        bprop (function, optional): gradient function of the primitive.

    Returns:
        tuple of ops.Custom: for known shapes, and for graphs with dynamic shapes.

    Raises:
        RuntimeError: If the device in use is Ascend; this build holds CPU kernels only.
    """
    if checks.device_target() != "cpu":
        checks.fail(RuntimeError, operator, "device_target", "be 'CPU': this build has no Ascend kernels", "Ascend")
    infer_shape, infer_dtype = _infer_functions(operator, attributes, device)
    registration = _registration(operator, attributes, "cpu")
    known = _CpuKernel(operator, attributes, infer_shape, infer_dtype, "aot", bprop, registration)
    dynamic = _CpuKernel(operator, attributes, None, None, "aot", bprop, registration)
    return known, dynamic
