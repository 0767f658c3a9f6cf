# SPDX-License-Identifier: Apache-2.0
"""The projection and its gradient against float64; a row has the same bits among any others."""

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
from mindspore import Tensor
from test_kernels_isa import DTYPES, isa, runner  # noqa: F401

from ms_nsa.projection import NsaProject, NsaProjectGrad
from support import family_calls
from support.run_cells import run_mode, to_array, to_arrays

BARS = {np.float32: 2e-6, np.float16: 1e-3, ml_dtypes.bfloat16: 6e-3}


@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("sizes", [(1, 7, 5), (0, 8, 3), (300, 259, 130), (257, 64, 600)])
def test_results_and_gradients(dtype, sizes):
    tokens, inputs, outputs = sizes
    rng = np.random.default_rng(sizes)
    x, weight, grad = (rng.standard_normal(s).astype(dtype) for s in (sizes[:2], (outputs, inputs), (tokens, outputs)))
    project = NsaProject()

    def loss(x, weight):
        return (project(x, weight).astype(ms.float32) * Tensor(grad).astype(ms.float32)).sum()

    found = [to_array(project(Tensor(x), Tensor(weight)))]
    if tokens:
        found += to_arrays(ms.grad(loss, (0, 1))(Tensor(x), Tensor(weight)))
    wide = [array.astype(np.float64) for array in (x, weight, grad)]
    for array, right in zip(found, (wide[0] @ wide[1].T, wide[2] @ wide[1], wide[2].T @ wide[0])):
        assert array.shape == right.shape and array.dtype == dtype
        assert np.abs(array - right).max(initial=0) <= BARS[dtype] * np.abs(right).max(initial=0)
    for rows in (1, 2, 63, 256):
        if rows < tokens:
            assert to_array(project(Tensor(x[:rows]), Tensor(weight))).tobytes() == found[0][:rows].tobytes()


# Columns and depths that end within a vector, a pair, a panel, a portion of the depth, a task, or with all of them.
@pytest.mark.parametrize("sizes", [(1, 1), (37, 300), (130, 771), (48, 1024), (83, 514)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_few_rows_have_the_bits_of_many(runner, isa, tmp_path, dtype, sizes):  # noqa: F811
    """Few rows go another way (few_rows_product.h), up to 32 of them or 64."""
    rng = np.random.default_rng(sizes)
    x, weight = (rng.standard_normal((rows, sizes[1])).astype(dtype) for rows in (200, sizes[0]))
    x[5, -1], x[6, 0] = np.inf, np.nan  # no row but their own sees them
    counts = 1, 3, 8, 16, 17, 32, 33, 64, 65
    calls = [family_calls.product_call(x[:rows], weight) for rows in (len(x), *counts)]
    many, *few = runner.run(tmp_path, isa, calls, (1, 3))
    for array, *_ in (*many, *(outputs for runs in few for outputs in runs)):
        assert array.tobytes() == many[0][0][: len(array)].tobytes()
    with np.errstate(invalid="ignore"):
        right = x.astype(np.float64) @ weight.astype(np.float64).T
    finite = np.isfinite(right)
    assert (np.isfinite(many[0][0].astype(float)) == finite).all() and not finite[5:7].any()
    found = many[0][0].astype(float)[finite]
    assert np.abs(found - right[finite]).max() <= BARS[dtype.type] * np.abs(right[finite]).max()


# Several tasks of rows and of columns, of which the last is smaller; depths of several portions, and of several blocks.
@pytest.mark.parametrize("of", ["RowsAndRows", "RowsAndColumns", "ColumnsAndColumns"])
@pytest.mark.parametrize("sizes", [(530, 70, 2309), (260, 530, 300)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_of_several_tasks(runner, isa, tmp_path, dtype, sizes, of):  # noqa: F811
    rows, columns, depth = sizes
    rng = np.random.default_rng(sizes)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, depth), (columns, depth)))
    a[7, -1], b[9, 3] = np.nan, np.inf  # no row and no column but their own sees them
    right = a.astype(np.float64) @ b.astype(np.float64).T
    lie = {"RowsAndRows": (a, b), "RowsAndColumns": (a, b.T), "ColumnsAndColumns": (a.T, b.T)}
    call = family_calls.product_call(*map(np.ascontiguousarray, lie[of]), of)
    one, several = (array for ((array,),) in zip(*runner.run(tmp_path, isa, [call], (1, 3))))
    assert one.tobytes() == several.tobytes()
    finite = np.isfinite(right)
    assert (np.isfinite(one.astype(float)) == finite).all() and finite.sum() == (rows - 1) * (columns - 1)
    error = one.astype(float)[finite] - right[finite]
    assert np.abs(error).max() <= BARS[dtype.type] * np.abs(right[finite]).max()


def loss_of(project, grad):
    def loss(x, weight):
        return (project(x, weight).astype(ms.float32) * grad).sum()

    return loss


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("dtype", BARS, ids=lambda dtype: np.dtype(dtype).name)
def test_heads_are_rows_that_lie_otherwise(dtype, mode):
    """Of the input, of the result, and of their gradients: the bits of the same product of rows."""
    rng = np.random.default_rng(3)
    x, weight, grad = (rng.standard_normal(shape).astype(dtype) for shape in ((9, 20), (12, 20), (9, 12)))
    found = []
    for heads, x_shape, y_shape in ((0, (9, 20), (9, 12)), (3, (9, 5, 4), (9, 3, 4)), (4, (9, 20), (9, 4, 3))):
        project, given = NsaProject(heads), Tensor(grad.reshape(y_shape).astype(np.float32))
        loss = loss_of(project, given)
        with run_mode(mode):
            tensors = Tensor(x.reshape(x_shape)), Tensor(weight)
            arrays = [to_array(project(*tensors)), *to_arrays(ms.grad(loss, (0, 1))(*tensors))]
        assert [array.shape for array in arrays] == [y_shape, x_shape, (12, 20)]
        found.append([array.tobytes() for array in arrays])
    assert found[1] == found[0] == found[2]


def test_heads_must_divide_the_result():
    x, weight = Tensor(np.zeros((3, 5), np.float32)), Tensor(np.zeros((8, 5), np.float32))
    with pytest.raises(ValueError, match="NsaProject: N of weight must be a multiple of heads = 3, got 8"):
        NsaProject(3)(x, weight)
    for shape, rule in (((3, 7), "the rows of grad must have N of weight = 8 elements"), ((2, 8), "T of grad must")):
        with pytest.raises(ValueError, match=f"NsaProjectGrad: {rule}"):
            NsaProjectGrad()(Tensor(np.zeros(shape, np.float32)), x, weight)


def test_in_a_graph(graph_mode):
    x, weight = np.eye(3, 5, dtype=np.float32), np.arange(10, dtype=np.float32).reshape(2, 5)
    with run_mode("graph"):
        assert (NsaProject()(Tensor(x), Tensor(weight)).asnumpy() == weight[:, :3].T).all()
    with pytest.raises(ValueError, match="NsaProject: K of weight must equal K of input = 5, got 4"):
        NsaProject()(Tensor(x), Tensor(weight[:, :4]))
