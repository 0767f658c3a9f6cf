# SPDX-License-Identifier: Apache-2.0
"""Projections of the layer: products with a weight in every dtype on the CPU, a row of which depends on no other row.

MindSpore's own MatMul has neither: it lacks bfloat16 there, and a row's bits depend on the number of rows. On Ascend
the layer uses it nevertheless (layer_on_ascend).
"""

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import initializer

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients
from ms_nsa.casts import make_cast

_FORWARD = "NsaProject"
_GRAD = "NsaProjectGrad"


class NsaProjectGrad(cells.OperatorCell):
    """Gradient of NsaProject: those of input and weight."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_GRAD, "auto")
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_projection_gradient, _GRAD))

    def construct(self, grad, input, weight):
        return self._call(grad, input, weight)


class NsaProject(cells.OperatorCell):
    """input [T, K] times the transposed weight [N, K]: sums in float32, in a fixed order, rounded once.

    A row of the input may lie in heads, [T, I, J] with I * J = K. With `heads` the result is [T, heads, N // heads],
    otherwise [T, N]: MindSpore's CPU backend has no Reshape in bfloat16, and casts around it are slow.
    """

    def __init__(self, heads=0):
        super().__init__()
        attributes, device = checks.operator_attributes(_FORWARD, "auto", heads=heads)
        self._make_operator(_FORWARD, attributes, device, (self._bprop_with, NsaProjectGrad()))

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, weight, out, dout):
            return grad_cell(dout, input, weight)

        return bprop

    def construct(self, input, weight):
        return self._call(input, weight)


def make_project(heads=0):
    """The product for the device in use."""
    return layer_on_ascend.Project(heads) if layer_on_ascend.in_use() else NsaProject(heads)


class Projection(nn.Cell):
    """x [T, inputs], or the same in heads [T, I, J], to [T, outputs] or [T, heads, outputs // heads] in the dtype of x,
    whatever that of the parameters.

    Args:
        inputs (int): width of a row.
        outputs (int): width of a row of the result.
        weight_init (Initializer): of the weight [outputs, inputs].
        bias_init (Initializer or Tensor): of the bias; None: there is none.
        dtype (mindspore.dtype): of the parameters.
        heads (int): of the result; 0: it is not divided into heads.
    """

    def __init__(self, inputs, outputs, weight_init, bias_init, dtype, heads=0):
        super().__init__()
        self.weight = ms.Parameter(initializer(weight_init, (outputs, inputs), dtype))
        self.has_bias = bias_init is not None
        if self.has_bias:
            self.bias = ms.Parameter(initializer(bias_init, (outputs,), dtype))
        self.project, self.cast = make_project(heads), make_cast()
        self.row = (heads, outputs // heads) if heads else (outputs,)

    def construct(self, x):
        y = self.project(x, self.cast(self.weight, x.dtype))
        if self.has_bias:
            y = self.cast(y, ms.float32) + self.bias.astype(ms.float32).reshape(self.row)
            y = self.cast(y, x.dtype)
        return y
