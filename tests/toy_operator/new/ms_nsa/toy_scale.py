# SPDX-License-Identifier: Apache-2.0
"""A scaled copy, the operator of the recipe in CONTRIBUTING.md."""

from ms_nsa import cells, checks


class ToyScaleGrad(cells.OperatorCell):
    """Gradient of :class:`ToyScale`."""

    def __init__(self, scale_value, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes("ToyScaleGrad", limits, scale_value=scale_value)
        self._make_operator("ToyScaleGrad", attributes, device)

    def construct(self, grad):
        return self._call(grad)


class ToyScale(cells.OperatorCell):
    """``y = scale_value * x``."""

    def __init__(self, scale_value, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes("ToyScale", limits, scale_value=scale_value)
        self._make_operator("ToyScale", attributes, device, (self._bprop_with, ToyScaleGrad(scale_value, limits)))

    @staticmethod
    def _bprop_with(grad_cell):
        def bprop(x, out, dout):
            return (grad_cell(dout),)

        return bprop

    def construct(self, x):
        return self._call(x)
