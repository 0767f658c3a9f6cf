# SPDX-License-Identifier: Apache-2.0
"""The sum of the layer's three branches times their gates, in one pass. MindSpore's own operators take ten, each over
whole tensors in float32: half of the time of all attention at 8192 tokens."""

import mindspore as ms

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_FORWARD = "NsaGatedSum"
_GRAD = "NsaGatedSumGrad"


class NsaGatedSumGrad(cells.MixedInputsCell):
    """Gradient of NsaGatedSum: those of the branches [T, N1, D2] and of the gates [T, N1, 3]."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_GRAD, "auto")
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_gated_sum_gradient, _GRAD))

    def construct(self, grad, compressed, selected, window, gates):
        return self._call(grad, compressed, selected, window, gates)


class NsaGatedSum(cells.MixedInputsCell):
    """The branches [T, N1, D2] times their gates [T, N1, 3], summed in float32, rounded once."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_FORWARD, "auto")
        self._make_operator(_FORWARD, attributes, device, (self._bprop_with, NsaGatedSumGrad()))

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(compressed, selected, window, gates, out, dout):
            return grad_cell(dout, compressed, selected, window, gates)

        return bprop

    def construct(self, compressed, selected, window, gates):
        return self._call(compressed, selected, window, gates.astype(ms.float32))


def make_gated_sum():
    """The sum for the device in use."""
    return layer_on_ascend.GatedSum() if layer_on_ascend.in_use() else NsaGatedSum()
