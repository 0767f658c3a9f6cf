# SPDX-License-Identifier: Apache-2.0
"""Projections of the layer: products with a weight in every dtype on the CPU, a row of which depends on no other row.

MindSpore's own MatMul has neither: it lacks bfloat16 there, and a row's bits depend on the number of rows. On Ascend
the layer uses it nevertheless (layer_on_ascend).
"""

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import initializer

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_FORWARD = "NsaProject"
_GRAD = "NsaProjectGrad"


class NsaProjectGrad(cells.OperatorCell):
    """Gradient of NsaProject: those of input [T, K] and weight [N, K]."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_GRAD, "auto")
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_projection_gradient, _GRAD))

    def construct(self, grad, input, weight):
        return self._call(grad, input, weight)


class NsaProject(cells.OperatorCell):
    """input [T, K] times the transposed weight [N, K]: sums in float32, in ascending order, rounded once."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_FORWARD, "auto")
        self._make_operator(_FORWARD, attributes, device, (self._bprop_with, NsaProjectGrad()))

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, weight, out, dout):
            return grad_cell(dout, input, weight)

        return bprop

    def construct(self, input, weight):
        return self._call(input, weight)


def make_project():
    """The product for the device in use."""
    return layer_on_ascend.Project() if layer_on_ascend.in_use() else NsaProject()


class Projection(nn.Cell):
    """x [T, inputs] to [T, outputs] in the dtype of x, whatever that of the parameters.

    Args:
        inputs (int): width of a row.
        outputs (int): width of a row of the result.
        weight_init (Initializer): of the weight [outputs, inputs].
        bias_init (Initializer or Tensor): of the bias; None: there is none.
        dtype (mindspore.dtype): of the parameters.
    """

    def __init__(self, inputs, outputs, weight_init, bias_init, dtype):
        super().__init__()
        self.weight = ms.Parameter(initializer(weight_init, (outputs, inputs), dtype))
        self.has_bias = bias_init is not None
        if self.has_bias:
            self.bias = ms.Parameter(initializer(bias_init, (outputs,), dtype))
        self.project = make_project()

    def construct(self, x):
        y = self.project(x, self.weight.astype(x.dtype))
        if self.has_bias:
            y = (y.astype(ms.float32) + self.bias.astype(ms.float32)).astype(x.dtype)
        return y


class Shared(nn.Cell):
    """A tensor that `count` branches read. Its gradient is their sum in float32, because MindSpore's CPU backend adds
    no tensors in bfloat16."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def construct(self, x):
        return (x,) * self.count

    def bprop(self, x, out, dout):
        total = dout[0].astype(ms.float32)
        for gradient in dout[1:]:
            total = total + gradient.astype(ms.float32)
        return (total.astype(x.dtype),)
