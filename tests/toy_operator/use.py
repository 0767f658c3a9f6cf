# SPDX-License-Identifier: Apache-2.0
"""Runs the toy operator as a user would, in both modes, and prints what the test expects."""

import mindspore as ms
import numpy as np

import ms_nsa

cell = ms_nsa.ToyScale(0.5)


def loss(x):
    return cell(x).sum()


for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
    ms.set_context(mode=mode)
    for dtype in (ms.float16, ms.bfloat16, ms.float32):
        x = ms.Tensor(np.arange(42).reshape(3, 2, 7), dtype)
        y = cell(x).astype(ms.float32).asnumpy()
        assert (y == np.arange(42).reshape(3, 2, 7) / 2).all(), (mode, dtype)
    dx = ms.grad(loss)(x)
    assert (dx.asnumpy() == 0.5).all()
    for wrong in (ms.Tensor(np.ones((2, 7)), ms.float32), ms.Tensor(np.ones((3, 2, 0)), ms.float32)):
        try:
            cell(wrong)
        except ValueError as error:
            print(str(error).splitlines()[0])
try:
    ms_nsa.ToyScale(0.5, limits="ascend")(x)
except (TypeError, ValueError) as error:
    print(str(error).splitlines()[0])
