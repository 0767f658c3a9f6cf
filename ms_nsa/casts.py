# SPDX-License-Identifier: Apache-2.0
"""Casts of whole tensors between bfloat16 and float32. MindSpore's take ten times as long on the CPU: a sixth of the
layer's forward at 8192 tokens, and most of a decoding step whose parameters are float32."""

import mindspore as ms
from mindspore import nn

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_NAMES = {ms.float32: "NsaToFloat32", ms.bfloat16: "NsaToBfloat16"}
_SOURCES = {ms.float32: ms.bfloat16, ms.bfloat16: ms.float32}


class _Operator(cells.OperatorCell):
    """The operator that makes `dtype`, with a gradient as :func:`make.make_primitives` takes it."""

    def __init__(self, dtype, gradient):
        super().__init__()
        attributes, device = checks.operator_attributes(_NAMES[dtype], "auto")
        self._make_operator(_NAMES[dtype], attributes, device, gradient)

    def construct(self, input):
        return self._call(input)


class NsaCast(_Operator):
    """input [T, W] or [T, W, D], of the other dtype, as `dtype`, rounded to nearest even; the gradient is cast back."""

    def __init__(self, dtype):
        source = _SOURCES[dtype]
        back = _Operator(source, (refused_gradients.of_cast_gradient, _NAMES[source]))
        super().__init__(dtype, (self._bprop_with, back))

    @staticmethod
    def _bprop_with(back):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, out, dout):
            return (back(dout),)

        return bprop


class Cast(nn.Cell):
    """A tensor as any dtype: by the operators where they serve, otherwise by MindSpore."""

    def __init__(self):
        super().__init__()
        self.to_float32, self.to_bfloat16 = NsaCast(ms.float32), NsaCast(ms.bfloat16)

    def construct(self, input, dtype):
        if input.ndim in (2, 3) and input.dtype == ms.bfloat16 and dtype == ms.float32:
            return self.to_float32(input)
        if input.ndim in (2, 3) and input.dtype == ms.float32 and dtype == ms.bfloat16:
            return self.to_bfloat16(input)
        return input.astype(dtype)


def make_cast():
    """The cast for the device in use."""
    return layer_on_ascend.Cast() if layer_on_ascend.in_use() else Cast()
