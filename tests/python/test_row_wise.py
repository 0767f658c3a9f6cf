# SPDX-License-Identifier: Apache-2.0
"""The gated sum and the rotation of the layer, and their gradients, against float64."""

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
from mindspore import Tensor

from ms_nsa import backend, layer_on_ascend
from ms_nsa.gated_sum import NsaGatedSum
from ms_nsa.rotation import NsaRotate
from support.run_cells import to_array, to_arrays

BARS = {np.float32: 1e-6, np.float16: 1e-3, ml_dtypes.bfloat16: 8e-3}  # of the largest element
SIZES = [(1, 1, 2), (0, 3, 8), (7, 5, 18), (130, 3, 40), (33, 9, 6)]


@pytest.fixture(params=backend.supported_isas())
def isa(request):
    before = backend.current_isa()
    backend.select_isa(request.param)
    yield request.param
    backend.select_isa(before)


def check(found, right, dtype):
    for array, exact in zip(found, right):
        assert array.shape == exact.shape
        bar = BARS[array.dtype.type]
        assert np.abs(array.astype(np.float64) - exact).max(initial=0) <= bar * np.abs(exact).max(initial=0)
    assert found[0].dtype == dtype


def gradients_of(cell, tensors, grad, count):
    def loss(*tensors):
        return (cell(*tensors).astype(ms.float32) * Tensor(grad).astype(ms.float32)).sum()

    return to_arrays(ms.grad(loss, tuple(range(count)))(*tensors) if count > 1 else (ms.grad(loss)(*tensors),))


@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("sizes", SIZES)
def test_gated_sum(isa, dtype, sizes):
    rng = np.random.default_rng(sizes)
    *branches, grad = (rng.standard_normal(sizes).astype(dtype) for _ in range(4))
    gates = rng.random((*sizes[:2], 3), np.float32)
    tensors = *map(Tensor, branches), Tensor(gates)
    wide = [array.astype(np.float64) for array in branches]
    mixed = sum(gates[..., [b]].astype(np.float64) * branch for b, branch in enumerate(wide))
    check([to_array(NsaGatedSum()(*tensors))], [mixed], dtype)
    if not sizes[0]:
        return
    up = grad.astype(np.float64)
    of_gates = np.stack([(up * branch).sum(-1) for branch in wide], -1)
    of_branches = [gates[..., [b]].astype(np.float64) * up for b in range(3)]
    check(gradients_of(NsaGatedSum(), tensors, grad, 4), [*of_branches, of_gates], dtype)


def turned(x, cosine, signed_sine):
    left, right = np.split(x, 2, -1)
    return x * cosine + np.concatenate([right, left], -1) * signed_sine


@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("sizes", SIZES)
def test_rotation(isa, dtype, sizes):
    rng = np.random.default_rng(sizes)
    x, grad = (rng.standard_normal(sizes).astype(dtype) for _ in range(2))
    angle = rng.uniform(-9, 9, (sizes[0], 1, sizes[2] // 2))
    cosine, sine = np.tile(np.cos(angle), 2).astype(np.float32), np.sin(angle)
    signed_sine = np.concatenate([-sine, sine], -1).astype(np.float32)
    tensors = Tensor(x), Tensor(cosine), Tensor(signed_sine)
    check([to_array(NsaRotate()(*tensors))], [turned(x.astype(np.float64), cosine, signed_sine)], dtype)
    if not sizes[0]:
        return
    found = gradients_of(NsaRotate(), tensors, grad, 1)
    check(found, [turned(grad.astype(np.float64), cosine, -signed_sine)], dtype)


def test_in_a_graph_and_as_composed_for_ascend(graph_mode):
    rng = np.random.default_rng(4)
    branches = [Tensor(rng.standard_normal((6, 2, 10)), ms.float32) for _ in range(3)]
    gates, angles = Tensor(rng.random((6, 2, 3)), ms.float32), Tensor(rng.random((2, 6, 1, 10)), ms.float32)
    for cell, composed, inputs in (
        (NsaGatedSum(), layer_on_ascend.GatedSum(), (*branches, gates)),
        (NsaRotate(), layer_on_ascend.Rotate(), (branches[0], angles[0], angles[1])),
    ):
        np.testing.assert_allclose(cell(*inputs).asnumpy(), composed(*inputs).asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "shapes", "sentence"),
    [
        (NsaGatedSum, [(2, 3, 4), (2, 3, 5), (2, 3, 4), (2, 3, 3)], "NsaGatedSum: selected must have shape"),
        (NsaGatedSum, [(2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3, 4)], "NsaGatedSum: gates must have shape"),
        (NsaRotate, [(2, 3, 5), (2, 1, 5), (2, 1, 5)], "NsaRotate: D of input must be even, got 5"),
        (NsaRotate, [(2, 3, 4), (2, 4, 4), (2, 1, 4)], "NsaRotate: cosine must have shape"),
    ],
)
def test_shapes_that_do_not_fit(cell, shapes, sentence):
    with pytest.raises(ValueError, match=sentence):
        cell()(*(Tensor(np.zeros(shape), ms.float32) for shape in shapes))
