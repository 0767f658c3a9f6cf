# SPDX-License-Identifier: Apache-2.0
"""The gated sum, the rotation and the sum of the layer, and their gradients, against float64."""

# ruff: noqa: F811 - fixtures are imported
import functools

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
from mindspore import Tensor
from test_family_kernels import run
from test_kernels_isa import DTYPES, isa, runner  # noqa: F401

from ms_nsa import layer_on_ascend
from ms_nsa.casts import Cast, NsaCast
from ms_nsa.gated_sum import NsaGatedSum
from ms_nsa.rotation import NsaRotate
from ms_nsa.shared import NsaSum, Shared
from support import family_calls
from support.run_cells import run_mode, to_arrays

BARS = {np.float32: 1e-6, np.float16: 1e-3, ml_dtypes.bfloat16: 8e-3}  # of the largest element
SIZES = [(1, 1, 2), (0, 3, 8), (7, 5, 18), (130, 3, 40), (33, 9, 6)]


def close(found, right):
    assert len(found) == len(right)
    for array, exact in zip(found, right):
        assert array.shape == exact.shape
        assert np.abs(array.astype(float) - exact).max(initial=0) <= BARS[array.dtype.type] * np.abs(exact).max(
            initial=0
        )


def gated(rng, dtype, sizes):
    """Branches, gates, the gradient of the sum; and in float64 the sum and all gradients."""
    *branches, grad = (rng.standard_normal(sizes).astype(dtype) for _ in range(4))
    gates = rng.random((*sizes[:2], 3), np.float32)
    wide, up, by = [branch.astype(float) for branch in branches], grad.astype(float), gates.astype(float)
    mixed = sum(by[..., [b]] * wide[b] for b in range(3))
    gradients = [*(by[..., [b]] * up for b in range(3)), np.stack([(up * branch).sum(-1) for branch in wide], -1)]
    return branches, gates, grad, mixed, gradients


def rotated(rng, dtype, sizes):
    """Rows, the angles' cosines and sines, the gradient of the result; and in float64 both results."""
    x, grad = (rng.standard_normal(sizes).astype(dtype) for _ in range(2))
    angle = rng.uniform(-9, 9, (sizes[0], 1, sizes[2] // 2))
    cosine, sine = (of(angle).astype(np.float32) for of in (np.cos, np.sin))
    return x, cosine, sine, grad, turned(x, cosine, sine), turned(grad, cosine, -sine)


def turned(x, cosine, sine):
    left, right = np.split(x.astype(float), 2, -1)
    return np.concatenate([left * cosine - right * sine, right * cosine + left * sine], -1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES)
def test_kernels(runner, isa, tmp_path, dtype, sizes):
    rng = np.random.default_rng(sizes)
    branches, gates, grad, mixed, gradients = gated(rng, dtype, sizes)
    close(run(runner, isa, tmp_path, family_calls.gated_sum_call(branches, gates)), [mixed])
    close(run(runner, isa, tmp_path, family_calls.gated_sum_grad_call(branches, gates, grad)), gradients)
    x, *angles, _, right, _ = rotated(rng, dtype, sizes)
    close(run(runner, isa, tmp_path, family_calls.rotate_call(x, *angles)), [right])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("terms", [2, 3, 8])
def test_kernel_of_the_sum(runner, isa, tmp_path, dtype, sizes, terms):
    """Added in float32 in their order and rounded once: bit for bit."""
    rng = np.random.default_rng((terms, *sizes))
    given = [rng.standard_normal(sizes).astype(dtype) for _ in range(terms)]
    (found,) = run(runner, isa, tmp_path, family_calls.sum_call(given))
    assert found.tobytes() == added(given).tobytes()


@pytest.mark.parametrize("sizes", [(1, 1), (0, 8), (7, 90), (130, 65), (33, 16)])
def test_kernels_of_casts(runner, isa, tmp_path, sizes):
    """Rounded to nearest even, as ml_dtypes does; NaN, infinities, subnormals and ties are among the elements."""
    rng, bfloat16 = np.random.default_rng(sizes), ml_dtypes.bfloat16
    wide = (rng.standard_normal(sizes) * np.exp2(rng.integers(-140, 127, sizes))).astype(np.float32)
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, 1e-45], np.float32)
    wide.flat[: len(special)] = special[: wide.size]
    (narrow,) = run(runner, isa, tmp_path, family_calls.cast_call(wide, bfloat16))
    np.testing.assert_array_equal(narrow.astype(np.float32), wide.astype(bfloat16).astype(np.float32))
    (back,) = run(runner, isa, tmp_path, family_calls.cast_call(narrow, np.float32))
    assert (np.isnan(back) == np.isnan(wide)).all()
    kept = ~np.isnan(wide)
    assert back[kept].tobytes() == narrow.astype(np.float32)[kept].tobytes()


def loss_of_cast(cast, dtype, grad):
    def loss(x):
        return (cast(x, dtype).astype(ms.float32) * grad).sum()

    return loss


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_casts(mode):
    """By the operators, and by MindSpore for other ranks and dtypes; gradients are cast back."""
    rng, cast = np.random.default_rng(8), Cast()
    for made, source in ((ms.bfloat16, ms.float32), (ms.float32, ms.bfloat16)):
        for sizes in ((9, 21), (4, 3, 5), (2, 3, 2, 2)):
            x, grad = (Tensor(rng.standard_normal(sizes), ms.float32) for _ in range(2))
            with run_mode(mode):
                found = to_arrays(cast(x.astype(dtype), made) for dtype in (source, ms.float16, made))
                (back,) = to_arrays((ms.grad(loss_of_cast(cast, made, grad))(x.astype(source)),))
            narrow = x.asnumpy().astype(ml_dtypes.bfloat16)
            assert found[0].tobytes() == (narrow if made == ms.bfloat16 else narrow.astype(np.float32)).tobytes()
            assert all(array.dtype == found[0].dtype for array in found)
            right = grad.asnumpy().astype(ml_dtypes.bfloat16).astype(np.float32)
            np.testing.assert_array_equal(back.astype(np.float32), right)


def test_which_casts_are_the_operators(monkeypatch):
    called, call = [], NsaCast._call
    monkeypatch.setattr(NsaCast, "_call", lambda cell, x: called.append((x.shape, str(x.dtype))) or call(cell, x))
    cast = Cast()
    for sizes in ((6, 4), (2, 3, 4), (2, 3, 2, 2), (8,)):
        for source in (ms.float32, ms.bfloat16, ms.float16):
            for dtype in (ms.float32, ms.bfloat16, ms.float16):
                cast(ms.ops.zeros(sizes, ms.float32).astype(source), dtype)
    assert called == [(sizes, dtype) for sizes in ((6, 4), (2, 3, 4)) for dtype in ("Float32", "BFloat16")]


def added(terms):
    total = terms[0].astype(np.float32)
    for term in terms[1:]:
        total = total + term.astype(np.float32)
    return total.astype(terms[0].dtype)


def loss_of_readers(shared, grads):
    def loss(x):
        readers, total = shared(x), 0.0
        for reader, grad in zip(readers, grads):
            total = total + (reader.astype(ms.float32) * grad).sum()
        return total

    return loss


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
def test_gradients_of_readers_are_summed(dtype, mode):
    """A tensor in rows and one in heads that three branches read, each of which scales its gradient."""
    rng = np.random.default_rng(5)
    shared = Shared(3)
    for sizes in ((6, 10), (6, 2, 5)):
        x, *grads = (rng.standard_normal(sizes).astype(dtype) for _ in range(4))
        given = [Tensor(grad.astype(np.float32)) for grad in grads]
        loss = loss_of_readers(shared, given)
        with run_mode(mode):
            (found,) = to_arrays((ms.grad(loss)(Tensor(x)),))
        assert found.dtype == dtype and found.tobytes() == added(grads).tobytes()


def gradients_of(cell, tensors, grad, positions):
    def loss(*tensors):
        return (cell(*tensors).astype(ms.float32) * Tensor(grad).astype(ms.float32)).sum()

    return to_arrays(ms.grad(loss, positions)(*tensors))


@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
def test_gradients(dtype):
    rng = np.random.default_rng(7)
    branches, gates, grad, _, gradients = gated(rng, dtype, (7, 5, 18))
    tensors = *map(Tensor, branches), Tensor(gates)
    close(gradients_of(NsaGatedSum(), tensors, grad, (0, 1, 2, 3)), gradients)
    x, *angles, grad, _, back = rotated(rng, dtype, (7, 5, 18))
    found = gradients_of(NsaRotate(), [Tensor(array) for array in (x, *angles)], grad, (0, 1))
    close(found, [back, np.zeros(angles[0].shape)])


def test_in_a_graph_and_as_composed_for_ascend(graph_mode):
    rng = np.random.default_rng(4)
    branches = [Tensor(rng.standard_normal((6, 2, 10)), ms.float32) for _ in range(3)]
    gates, angles = Tensor(rng.random((6, 2, 3)), ms.float32), Tensor(rng.random((2, 6, 1, 5)), ms.float32)
    for cell, composed, inputs in (
        (NsaGatedSum(), layer_on_ascend.GatedSum(), (*branches, gates)),
        (NsaRotate(), layer_on_ascend.Rotate(), (branches[0], angles[0], angles[1])),
        (NsaSum(), layer_on_ascend.Sum(), branches),
    ):
        np.testing.assert_allclose(cell(*inputs).asnumpy(), composed(*inputs).asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "shapes", "sentence"),
    [
        (NsaGatedSum, [(2, 3, 4), (2, 3, 5), (2, 3, 4), (2, 3, 3)], "NsaGatedSum: selected must have shape"),
        (NsaGatedSum, [(2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3, 4)], "NsaGatedSum: gates must have shape"),
        (NsaSum, [(2, 3, 4), (2, 3, 5)], "NsaSum: second must have shape"),
        (NsaSum, [(2, 12), (2, 12), (2, 3, 4)], "NsaSum: third must have the rank of first"),
        (NsaSum, [(2,), (2,)], "NsaSum: first must have rank"),
        (NsaRotate, [(2, 3, 5), (2, 1, 5), (2, 1, 5)], "NsaRotate: D of input must be even, got 5"),
        (NsaRotate, [(2, 3, 4), (2, 4, 2), (2, 1, 2)], "NsaRotate: cosine must have shape"),
        (NsaRotate, [(2, 3, 4), (2, 1, 2), (2, 1, 4)], "NsaRotate: sine must have shape"),
        (functools.partial(NsaCast, ms.bfloat16), [(2,)], "NsaToBfloat16: input must have rank"),
    ],
)
def test_shapes_that_do_not_fit(cell, shapes, sentence):
    with pytest.raises(ValueError, match=sentence):
        cell()(*(Tensor(np.zeros(shape), ms.float32) for shape in shapes))
