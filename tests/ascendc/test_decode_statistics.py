# SPDX-License-Identifier: Apache-2.0
"""Decode's statistics, and its masks over a sequence's new tokens, on the twin."""

from dataclasses import replace

import numpy as np
import pytest

from ascendc.device import run_infer
from support import DTYPES, check_forward, make_paged_case

SIZES = {"n2": 2, "d1": 48, "d2": 32, "select_block_size": 16, "select_block_count": 12, "page_block_size": 32}
RUNS = [{"aic_cores": 1, "seed": 1}, {"aic_cores": 3, "seed": 2, "preempt": 5}, {"aic_cores": 20, "seed": 3}]
LAYOUTS = ("BSH", "BSND", "TND")


def tree_case(dtype, layout="BSND", group=3, seed=0, **changes):
    """Sequences with up to 5 drafts each, of which each sees some; one without rows, one shorter than its drafts."""
    rng = np.random.default_rng([19, seed])
    q_lens, kv_lens = [5, 1, 3, 4, 2], [300, 40, 3, 2, 0]
    case = make_paged_case(rng, DTYPES[dtype], layout, 5, q_lens, kv_lens, group=group, **SIZES)
    mask = rng.random((5, 6, 7)) < 0.5
    return replace(case, **{"atten_mask": mask, "return_softmax_lse": True, **changes})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", RUNS, ids=str)
def test_masks_of_new_tokens(dtype, layout, options):
    *results, _ = run_infer(tree_case(dtype, layout).poisoned(), **options)
    check_forward(tree_case(dtype, layout), *results)


@pytest.mark.parametrize("group", [1, 2, 31, 32])
@pytest.mark.parametrize("mask", [None, np.zeros((5, 300), np.uint8)], ids=["without a mask", "with one of all"])
def test_statistics(group, mask):
    case = tree_case("bfloat16", group=group, seed=group, atten_mask=mask)
    check_forward(case, *run_infer(case, aic_cores=5, seed=3, preempt=4)[:-1])


def test_statistics_change_no_bit_of_the_result():
    case = tree_case("float16")
    outs = [run_infer(replace(case, return_softmax_lse=given), seed=2)[0] for given in (True, False)]
    np.testing.assert_array_equal(*(out.view(np.uint16) for out in outs))


@pytest.mark.parametrize("cores", [2, 5, 24])
def test_statistics_of_parts_that_are_merged(cores):
    """One sequence over many cores; parts that see nothing; a token that sees nothing at all."""
    rng = np.random.default_rng(4)
    case = make_paged_case(
        rng, DTYPES["bfloat16"], "BSND", 1, None, [4000], n2=1, group=3, d1=64, d2=32, select_block_size=64,
        select_block_count=32, page_block_size=128, styles=("ascending",),
    )  # fmt: skip
    case = replace(case, return_softmax_lse=True)
    few = np.where(case.topk_indices > 20, case.topk_indices, -1)
    for indices in (case.topk_indices, few, np.full_like(few, -1)):
        case = replace(case, topk_indices=indices)
        check_forward(case, *run_infer(case, aic_cores=cores, seed=cores, preempt=3)[:-1])


@pytest.mark.parametrize("shape", [(5, 3, 5), (5, 5, 3), (5, 1, 9)])
def test_beyond_a_small_mask_new_tokens_are_dropped(shape):
    """What it has no room for is not read: the twin would say so. Rows before the new tokens are seen."""
    case = tree_case("float16", seed=5)
    small = replace(case, atten_mask=np.ascontiguousarray(case.atten_mask[:, : shape[1], : shape[2]]))
    whole = np.ones((5, 5, 5), bool)
    whole[:, : shape[1], : shape[2]] = small.atten_mask[:, :5, :5]
    without = replace(case, atten_mask=whole)
    indices = without.topk_indices.copy()
    indices[:, shape[1] :] = -1  # tokens that the mask has no row for see nothing
    expected = replace(without, topk_indices=indices)
    results = run_infer(replace(small), aic_cores=3, seed=1)[:-1]
    check_forward(expected, *results)
