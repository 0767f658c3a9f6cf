# SPDX-License-Identifier: Apache-2.0
"""Scores far from 0 on the twin: a row's own maximum weighs exactly 1, and a block listed twice exactly twice."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from ascendc.device import run_infer, run_select, run_select_grad
from support import PagedCase, SelectCase, check_forward, make_paged_case, make_select_case

BF16, WIDTH = np.dtype(ml_dtypes.bfloat16), 16
SCHEDULES = ("token", "block")
SCORES = [(BF16, 1000, 1.25), (BF16, 4096, -24.75), (BF16, 1e10, 1.0), (np.float16, 1024, 97.25)]


def scored_case(dtype, scores, value, blocks, scale):
    """Two query heads of ones; key j scores about `scores[j]`, rounded to `dtype`. Blocks of 16 rows."""
    query, grad = np.zeros((1, 2, WIDTH), dtype), np.ones((1, 2, WIDTH), dtype)
    key = np.zeros((len(scores), 1, WIDTH), dtype)
    query[..., :2] = 1
    key[..., :2] = np.array(scores, np.float64)[:, None, None] / 2
    value = np.tile(np.array(value, np.float64)[:, None, None], (1, 1, WIDTH)).astype(dtype)
    return SelectCase(query, key, value, grad, np.array(blocks, np.int32)[None, None], 16, scale)


def paged(case):
    """The same call on a cache of one page."""
    rows = len(case.key)
    page = -(-rows // 16) * 16
    cache = [np.zeros((1, page, 1, array.shape[2]), case.dtype) for array in (case.key, case.value)]
    for pages, array in zip(cache, (case.key, case.value)):
        pages[0, :rows] = array
    return PagedCase(
        case.query[:, None], *cache, case.topk_indices[:, None], np.zeros((1, 1), np.int32), None, (rows,),
        case.head_num, 1, case.select_block_size, page, case.scale_value,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "size", "scale"), [(BF16, 133120, None), (BF16, 59904, 1.0), (np.float16, 60000, 1.0)]
)
def test_one_key_weighs_one(dtype, size, scale):
    array, value = np.full((1, 1, 64), size, dtype), np.full((1, 1, 64), 3, dtype)
    case = SelectCase(array, array, value, value, np.zeros((1, 1, 1), np.int32), 16, scale)
    for schedule in SCHEDULES:
        out, top, total, _ = run_select(case, schedule=schedule)
        assert (out == value).all() and (total == 1).all() and (top > 1e9).all()
    assert (run_infer(paged(case))[0] == value).all()


@pytest.mark.parametrize(("dtype", "score", "scale"), SCORES)
def test_equal_keys_weigh_the_same(dtype, score, scale):
    case = scored_case(dtype, [score] * 64, [1] * 64, [3, 0, 1, 2], scale)
    exact = case.key[0, 0, 0].astype(np.float32) * np.float32(2) * np.float32(scale)
    for schedule in SCHEDULES:
        saved = run_select(case, schedule=schedule)[:3]
        assert (saved[0] == 1).all() and (saved[1] == exact).all() and (saved[2] == 64).all()
        *_, dv, _ = run_select_grad(case, saved=saved)
        assert (dv == 2 / 64).all()  # of two query heads
    assert (run_infer(paged(case))[0] == 1).all()


@pytest.mark.parametrize("dtype", [BF16, np.float16], ids=str)
def test_a_block_listed_twice_weighs_twice(dtype):
    case = scored_case(dtype, [4096] * 32, [3] * 16 + [0] * 16, [0, 1, 0], 17.25)
    for schedule in SCHEDULES:
        saved = run_select(case, schedule=schedule)[:3]
        assert (saved[0] == 2).all() and (saved[2] == 48).all()
        *_, dv, _ = run_select_grad(case, saved=saved)
        rows = dv.astype(np.float64).mean(axis=(1, 2))
        np.testing.assert_allclose(rows, [2 * 2 / 48] * 16 + [2 / 48] * 16, rtol=4e-3 if dtype == BF16 else 5e-4)
    assert (run_infer(paged(case))[0] == 2).all()


@pytest.mark.parametrize("score", [3.3e38, -3.3e38, 2e38, -np.finfo(np.float32).max])
def test_the_largest_and_lowest_scores_come_back(score):
    """Sum 0 is the mark of a row that sees nothing; what fills a tile up weighs nothing beside the lowest score."""
    case = scored_case(BF16, [64.0] * 3, [3] * 3, [0, -1], score / 64)
    case = replace(case, query=case.query, scale_value=float(np.float32(score) / np.float32(64)))
    exact = np.float32(64) * np.float32(case.scale_value)
    for schedule in SCHEDULES:
        out, top, total, _ = run_select(case, schedule=schedule)
        assert (out == 3).all() and (top == exact).all() and (total == 3).all()
    out, top, total, _ = run_infer(replace(paged(case), return_softmax_lse=True))
    assert (out == 3).all() and (top == exact).all() and (total == 3).all()


@pytest.mark.parametrize("value", [3e37, 3.3895e38, 1e-36])
def test_equal_values_come_back(value):
    """Their undivided sum does not fit in float32; and dividing first leaves small ones alone."""
    case = scored_case(BF16, [1.0] * 48, [value] * 48, [1, 0, 2, 1], 1.0)
    for schedule in SCHEDULES:
        out, _, total, _ = run_select(case, schedule=schedule)
        assert (out == case.value[0, 0, 0]).all() and (total == 64).all()
    assert (run_infer(paged(case))[0] == case.value[0, 0, 0]).all()


@pytest.mark.parametrize("cores", [1, 5])
def test_values_near_the_largest_finite_number(cores):
    """Hidden rows, a block listed twice, other heads, and parts of one token on several cores are about."""
    rng = np.random.default_rng(5)
    indices = np.array([[[2, 0, 2, -1]], [[1, 0, -1, 0]]], np.int32)
    sizes = {"n2": 1, "group": 3, "d1": 32, "d2": 16, "select_block_size": 16, "select_block_count": 4}
    select = make_select_case(rng, BF16, [2], [44], scale_value=0.1, sparse_mode=3, **sizes)
    select = replace(select, topk_indices=indices, value=(select.value * 1e37).astype(BF16))
    select.value[::2, :, :7] = 3e38
    paged_case = make_paged_case(rng, BF16, "BSND", 2, None, [44], page_block_size=16, scale_value=0.1, **sizes)
    paged_case = replace(paged_case, topk_indices=indices[None], value=(paged_case.value * 1e37).astype(BF16))
    paged_case.value[:, ::2, :, :7] = 3e38
    for schedule in SCHEDULES:
        check_forward(select, *run_select(select, aic_cores=cores, schedule=schedule, seed=2)[:3])
    check_forward(paged_case, run_infer(paged_case, aic_cores=cores, seed=3)[0])
