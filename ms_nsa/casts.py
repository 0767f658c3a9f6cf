# SPDX-License-Identifier: Apache-2.0
"""Casts of whole tensors between bfloat16 and float32. MindSpore's take ten times as long on the CPU: a sixth of the
layer's forward at 8192 tokens, and most of a decoding step whose parameters are float32."""

import mindspore as ms

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_NAMES = {ms.float32: "NsaToFloat32", ms.bfloat16: "NsaToBfloat16"}
_SOURCES = {ms.float32: ms.bfloat16, ms.bfloat16: ms.float32}


class _Cast(cells.OperatorCell):
    """The operator that makes `dtype`, with a gradient as :func:`make.make_primitives` takes it."""

    def __init__(self, dtype, gradient):
        super().__init__()
        self.dtype, self.source = dtype, _SOURCES[dtype]
        attributes, device = checks.operator_attributes(_NAMES[dtype], "auto")
        self._make_operator(_NAMES[dtype], attributes, device, gradient)

    def construct(self, input):
        return self._call(input)


class NsaCast(_Cast):
    """input as `dtype`, rounded to nearest even; the gradient is cast back. Tensors [T, W] between bfloat16 and float32
    are the operator's, all others MindSpore's."""

    def __init__(self, dtype):
        source = _SOURCES[dtype]
        back = _Cast(source, (refused_gradients.of_cast_gradient, _NAMES[source]))
        super().__init__(dtype, (self._bprop_with, back))

    @staticmethod
    def _bprop_with(back):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, out, dout):
            return (back(dout),)

        return bprop

    def construct(self, input):
        if input.dtype != self.source or input.ndim != 2:
            return input.astype(self.dtype)
        return self._call(input)


def make_cast(dtype):
    """The cast for the device in use."""
    return layer_on_ascend.Cast(dtype) if layer_on_ascend.in_use() else NsaCast(dtype)
