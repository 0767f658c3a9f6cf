# SPDX-License-Identifier: Apache-2.0
"""The operators of the vendor package, in Cells that are called like the CPU's primitives."""

import mindspore as ms
from mindspore import nn, ops

from ms_nsa import native, registry
from ms_nsa.copies import CopyableCustom, copyable
from ms_nsa.primitive import first_error, vendor
from ms_nsa.primitive.call_arguments import in_graph, is_absent
from ms_nsa.primitive.gradients import make_bprop
from ms_nsa.primitive.inference import infer_functions
from ms_nsa.primitive.registration import ascend_registration
from ms_nsa.registry import load


class _AscendNode(nn.Cell):
    """A graph of one operator of the vendor package and its attributes, which MindSpore takes as inputs.

    PyNative mode runs this graph, because MindSpore accepts inputs that are not tensors, and more than twelve inputs
    and outputs, only in compiled graphs.
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


def join_lengths(actual_seq_qlen, actual_seq_kvlen, query, key):
    """Prefix sums of the query lengths, then of the key lengths; empty if both are absent.

    If one of them is absent, there is one sequence with all tokens.
    """
    if is_absent(actual_seq_qlen) and not is_absent(actual_seq_kvlen):
        actual_seq_qlen = actual_seq_kvlen * 0 + query.shape[0]
    if is_absent(actual_seq_kvlen) and not is_absent(actual_seq_qlen):
        actual_seq_kvlen = actual_seq_qlen * 0 + key.shape[0]
    if is_absent(actual_seq_qlen):
        return actual_seq_qlen
    return ops.concat((actual_seq_qlen, actual_seq_kvlen))


class AscendKernel(nn.Cell):
    """An operator of the vendor package, with the same inputs and outputs as the CPU primitive.

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


class _AscendForward(AscendKernel):
    """A forward operator as a Cell. For a primitive, MindSpore would ask for gradients of these inputs.

    Graph mode wants the parameters of `bprop` by name: there is a subclass for each number of inputs.
    """

    def __init__(self, operator, node, attributes, gradient=None):
        super().__init__(operator, node, attributes)
        self._gradient = gradient
        self._bprop = make_bprop(gradient)

    def __getstate__(self):
        base, state = super().__getstate__()
        return base, {name: value for name, value in state.items() if name != "_bprop"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._bprop = make_bprop(self._gradient)


class _ForwardOf1(_AscendForward):
    def bprop(self, a, out, dout):
        return self._bprop(a, out, dout)


class _ForwardOf4(_AscendForward):
    def bprop(self, a, b, c, d, out, dout):
        return self._bprop(a, b, c, d, out, dout)


class _ForwardOf5(_AscendForward):
    def bprop(self, a, b, c, d, e, out, dout):
        return self._bprop(a, b, c, d, e, out, dout)


class _ForwardOf7(_AscendForward):
    def bprop(self, a, b, c, d, e, f, g, out, dout):
        return self._bprop(a, b, c, d, e, f, g, out, dout)


_FORWARDS = {1: _ForwardOf1, 4: _ForwardOf4, 5: _ForwardOf5, 7: _ForwardOf7}
NODES = {"NsaSelectAttentionGrad": _AscendGradNode}


def cell_of(operator):
    """The class that calls an operator: one with a gradient where op_info has that operator."""
    if not registry.has_gradient(operator):
        return AscendKernel
    return _FORWARDS[len(load(operator)["inputs"])]


@copyable
def ascend_primitive(operator, attributes, device, known):
    """Inference in C++ is the CPU library's, which knows the operator by its Ascend name too."""
    function = f"{native.library_path()}:{load(operator)['ascend_name']}"
    registration = ascend_registration(operator)
    inferred = infer_functions(operator, attributes, device, "ascend") if known else (None, None)
    primitive = CopyableCustom(function, *inferred, "aot", None, registration)
    for name, value in attributes.items():
        primitive.add_prim_attr(name, value)
    return primitive


def make_ascend(operator, attributes, device, gradient):
    """What is called with the inputs of op_info, for known and for dynamic shapes; RuntimeError without kernels."""
    if "ascend_name" not in load(operator):
        raise RuntimeError(f"{operator}: device_target must be 'CPU', got 'Ascend'")
    wrong = vendor.activate()
    if wrong:
        raise RuntimeError(wrong)
    values = registry.ascend_values(operator, attributes)
    node, cell = NODES.get(operator, _AscendNode), cell_of(operator)
    primitives = [ascend_primitive(operator, attributes, device, known) for known in (True, False)]
    return tuple(cell(operator, node(primitive, values), attributes, gradient) for primitive in primitives)
