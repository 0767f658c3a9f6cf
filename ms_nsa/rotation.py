# SPDX-License-Identifier: Apache-2.0
"""Rotary positions in one pass over a tensor."""

import mindspore as ms
from mindspore import ops

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_NAME = "NsaRotate"


class _Turn(cells.MixedInputsCell):
    """The operator, with a gradient as :func:`make.make_primitives` takes it."""

    def __init__(self, gradient):
        super().__init__()
        attributes, device = checks.operator_attributes(_NAME, "auto")
        self._make_operator(_NAME, attributes, device, gradient)

    def construct(self, input, cosine, sine):
        return self._call(input, cosine.astype(ms.float32), sine.astype(ms.float32))


class NsaRotate(_Turn):
    """Turns elements i and i + D / 2 of input [T, N, D] by one angle, whose cosine and sine are given: [T, 1, D / 2] in
    float32. The gradient turns back; the angles have none."""

    def __init__(self):
        super().__init__((self._bprop_with, _Turn((refused_gradients.of_rotation_gradient, _NAME))))

    @staticmethod
    def _bprop_with(turn):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, cosine, sine, out, dout):
            input_grad = turn(dout, cosine, ops.neg(sine))
            return input_grad, ops.zeros_like(cosine), ops.zeros_like(sine)

        return bprop


def make_rotate():
    """The turn for the device in use."""
    return layer_on_ascend.Rotate() if layer_on_ascend.in_use() else NsaRotate()
