# SPDX-License-Identifier: Apache-2.0
"""Scores and values far from 0: a row's own maximum weighs exactly 1, a block listed twice exactly twice."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from test_kernels_isa import for_isa_and_dtype, isa, runner  # noqa: F401

from support import PagedCase, SelectCase, check_forward, make_paged_case, make_select_case
from support.case_file import paged_call, select_call, select_grad_call

BF16 = np.dtype(ml_dtypes.bfloat16)


def scored_case(dtype, scores, value, block_size, blocks, scale=1.0):
    """One query of ones; key j scores `scores[j]`, rounded to `dtype`."""
    key = np.repeat(np.array(scores, np.float64)[:, None, None] / 2, 2, axis=2).astype(dtype)
    ones = np.ones((1, 1, 2), dtype)
    value = np.array(value, np.float64)[:, None, None].astype(dtype)
    indices = np.array(blocks, np.int32)[None, None]
    return SelectCase(ones, key, value, np.ones((1, 1, 1), dtype), indices, block_size, scale)


@pytest.mark.parametrize(("dtype", "size", "scale"), [(BF16, 133120, None), (BF16, 59904, 1), (np.float16, 60000, 1)])
def test_one_key_weighs_one(runner, isa, tmp_path, dtype, size, scale):  # noqa: F811
    array = np.full((1, 1, 64), size, dtype)
    value = np.full((1, 1, 64), 3, dtype)
    case = SelectCase(array, array, value, value, np.zeros((1, 1, 1), np.int32), 1, scale)
    ((out, _, total),) = runner.run(tmp_path, isa, [select_call(case)])[0]
    assert (out == value).all() and (total == 1).all()


@for_isa_and_dtype
@pytest.mark.parametrize(("score", "scale"), [(1000, 1.25), (4094, -24.75), (1024, 97.25)])
def test_equal_keys_weigh_the_same(runner, isa, tmp_path, dtype, score, scale):  # noqa: F811
    case = scored_case(dtype, [score] * 64, [1] * 64, 64, [0], scale)
    (forward,), (gradient,) = runner.run(tmp_path, isa, [select_call(case), select_grad_call(case)])
    assert (forward[2] == 64).all()
    assert (gradient[2] == 1 / 64).all()


@for_isa_and_dtype
def test_a_block_listed_twice_weighs_twice(runner, isa, tmp_path, dtype):  # noqa: F811
    case = scored_case(dtype, [4096, 4096], [3, 0], 1, [0, 1, 0], 17.25)
    (forward,), (gradient,) = runner.run(tmp_path, isa, [select_call(case), select_grad_call(case)])
    exact = np.array([2 / 3, 1 / 3])
    precision = {2: 4e-3 if case.dtype == BF16 else 5e-4, 4: 1e-6}[case.dtype.itemsize]
    assert (forward[2] == 3).all() and forward[0].item() == 2
    np.testing.assert_allclose(gradient[2].astype(np.float64).ravel(), exact, rtol=precision)


def test_a_block_listed_more_often_than_fp16_counts(runner, isa, tmp_path):  # noqa: F811
    case = scored_case(np.float16, [1, 1], [3, 5], 1, [0] * 65600 + [1])
    ((out, _, total),) = runner.run(tmp_path, isa, [select_call(case)])[0]
    assert out.item() == 3 and (total == 65601).all()


def gradient_errors(runner, isa, folder, case):  # noqa: F811
    """Of dq and dk, given the kernel's own results of the forward; as fractions of their size."""
    forward = runner.run(folder, isa, [select_call(case)])[0][0]
    own = replace(case)
    own.__dict__["saved"] = forward
    found = runner.run(folder, isa, [select_grad_call(own)])[0][0]
    pairs = [(a.astype(np.float64), b) for a, b in zip(found[:2], case.gradients)]
    return [np.sqrt(((a - b) ** 2).sum() / (b**2).sum()) for a, b in pairs]


def coarser(isa):  # noqa: F811
    """Only these round weights and score gradients to bfloat16."""
    return 1.5 if isa in ("avx512bf16", "amxbf16", "neonbf16") else 1


def case_of_widths(dtype, count, scale, offset=0):
    rng = np.random.default_rng(0)
    query, key, value, grad = (rng.standard_normal((n, 1, 64)) for n in (40, 128, 128, 40))
    query[..., 0], key[..., 0] = query[..., 0] * (offset == 0) + offset, key[..., 0] * (offset == 0) - offset
    indices = np.tile(np.arange(count, dtype=np.int32), (40, 1, 1))
    arrays = (array.astype(dtype) for array in (query, key, value, grad))
    return SelectCase(*arrays, indices, 128 // count, scale)


@for_isa_and_dtype
@pytest.mark.parametrize("count", [1, 2, 16])
def test_gradients_where_all_keys_share_a_large_element(runner, isa, tmp_path, dtype, count):  # noqa: F811
    """Every score is about -7e4, and float32 resolves it to 8e-3; dq multiplies what score gradients do not sum to."""
    errors = gradient_errors(runner, isa, tmp_path, case_of_widths(dtype, count, 0.12, offset=750))
    assert max(errors) < 0.025 * coarser(isa)


@for_isa_and_dtype
@pytest.mark.parametrize(("scale", "bar"), [(0.01, 0.005), (0.125, 0.007), (1, 0.0115), (3, 0.0115)])
def test_gradients_where_one_key_has_nearly_all_the_weight(runner, isa, tmp_path, dtype, scale, bar):  # noqa: F811
    """Or where all weigh the same, which must not suffer for it. The bars are those of bfloat16."""
    errors = gradient_errors(runner, isa, tmp_path, case_of_widths(dtype, 2, scale))
    assert (
        max(errors) < bar * coarser(isa) * {"bfloat16": 1, "float16": 1 / 5, "float32": 1 / 500}[np.dtype(dtype).name]
    )


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float32)], ids=str)
def test_values_near_the_largest_finite_number(runner, isa, tmp_path, dtype):  # noqa: F811
    """Their undivided sum does not fit in float32; hidden rows, a block listed twice and other heads are about."""
    rng = np.random.default_rng(5)
    indices = np.array([[[2, 0, 2, -1]], [[1, 0, -1, 0]]], np.int32)
    sizes = {"n2": 1, "group": 3, "d1": 24, "d2": 20, "select_block_size": 16, "select_block_count": 4}
    select = make_select_case(rng, dtype, [2], [44], scale_value=0.1, sparse_mode=3, **sizes)
    select = replace(select, topk_indices=indices, value=(select.value * 1e37).astype(dtype))
    select.value[::2, :, :7] = 3e38
    paged = make_paged_case(rng, dtype, "BSND", 2, None, [44], page_block_size=16, scale_value=0.1, **sizes)
    paged = replace(paged, topk_indices=indices[None], value=(paged.value * 1e37).astype(dtype))
    paged.value[:, ::2, :, :7] = 3e38
    (forward,), (decode,) = runner.run(tmp_path, isa, [select_call(select), paged_call(paged)])
    assert np.isfinite(forward[0].astype(np.float64)).all() and np.isfinite(decode[0].astype(np.float64)).all()
    check_forward(select, *forward)
    check_forward(paged, decode[0].reshape(paged.attention_out_shape))


@for_isa_and_dtype
def test_decode_of_the_lowest_scores(runner, isa, tmp_path, dtype):  # noqa: F811
    """Every score lies near the end of float32's range, below -3e38."""
    score = -np.finfo(np.float32).max
    query, key = np.full((1, 1, 1, 1), 64, dtype), np.full((1, 16, 1, 1), 64, dtype)
    value = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1).astype(dtype)
    case = PagedCase(
        query, key, value, np.zeros((1, 1, 1, 1), np.int32), np.zeros((1, 1), np.int32), None, (16,), 1, 1, 16, 16,
        scale_value=float(score / 4096),
    )  # fmt: skip
    ((decode,),) = runner.run(tmp_path, isa, [paged_call(case)])
    assert decode[0].item() == 7.5
