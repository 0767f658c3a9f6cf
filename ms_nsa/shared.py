# SPDX-License-Identifier: Apache-2.0
"""Tensors that several branches read. Their gradients are summed in one pass, because MindSpore's CPU backend adds no
tensors in bfloat16 in a graph, and casts to float32 and back took a seventh of the layer's gradient."""

from mindspore import nn, ops

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_NAME = "NsaSum"


class NsaSum(cells.OperatorCell):
    """Two to eight tensors [T, W] or [T, W, D], summed in float32 in their order, rounded once."""

    def __init__(self):
        super().__init__()
        attributes, device = checks.operator_attributes(_NAME, "auto")
        self._make_operator(_NAME, attributes, device, (refused_gradients.of_sum, _NAME))

    def construct(self, first, second, third=None, fourth=None, fifth=None, sixth=None, seventh=None, eighth=None):
        return self._call(first, second, third, fourth, fifth, sixth, seventh, eighth)


def make_sum():
    """The sum for the device in use."""
    return layer_on_ascend.Sum() if layer_on_ascend.in_use() else NsaSum()


class Shared(nn.Cell):
    """A tensor that `count` branches read, two to eight."""

    def __init__(self, count):
        super().__init__()
        self.count, self.sum = count, make_sum()

    def construct(self, x):
        readers = ()
        for _ in range(self.count):
            # x itself would come back as a view in PyNative mode, which MindSpore copies for every reader; one tensor
            # for all readers would have one gradient.
            readers += (ops.stop_gradient(x),)
        return readers

    def bprop(self, x, out, dout):
        return (self.sum(*dout),)
