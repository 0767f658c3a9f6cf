# SPDX-License-Identifier: Apache-2.0
"""Decode's statistics, and its masks over a sequence's new tokens: kernels of every ISA, Cells, dynamic graphs."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from test_kernels_isa import DTYPES, isa, runner  # noqa: F401

import ms_nsa
from support import check_forward, make_paged_case, run_cells
from support.case_file import paged_call
from support.run_cells import MODES, run_forward, run_mode, same_bits

SIZES = {"d1": 40, "d2": 24, "select_block_size": 16, "select_block_count": 12, "page_block_size": 32, "n2": 2}
LAYOUTS = ("BSH", "BSND", "TND")


def tree_case(seed, dtype, layout="BSND", group=3, **changes):
    """Sequences with up to 5 drafts each, of which each sees some; one without rows, one shorter than its drafts."""
    rng = np.random.default_rng([17, seed])
    q_lens, kv_lens = [5, 1, 3, 4, 2], [300, 40, 3, 2, 0]
    case = make_paged_case(rng, dtype, layout, 5, q_lens, kv_lens, group=group, **SIZES)
    mask = rng.random((5, 6, 7)) < 0.5
    return replace(case, atten_mask=mask, return_softmax_lse=True, **changes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", [1, 4, 9])
def test_kernels(runner, isa, tmp_path, dtype, group):  # noqa: F811
    cases = [tree_case(group, dtype, layout, group) for layout in ("BSND", "TND")]
    cases += [replace(cases[0].poisoned(), atten_mask=mask) for mask in (None, np.zeros((5, 300), np.uint8))]
    for case, runs in zip(cases, runner.run(tmp_path, isa, [paged_call(case) for case in cases], (1, 3))):
        assert same_bits(*runs)
        out, *statistics = runs[0]
        shaped = [array.reshape(expected.shape) for array, expected in zip(statistics, case.forward[1:])]
        check_forward(case, out.reshape(case.attention_out_shape), *shaped)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cells(mode, layout, dtype):
    case = tree_case(1, dtype, layout)
    results = run_forward(case, mode)
    check_forward(case, *results)
    assert same_bits(results[:1], run_forward(replace(case, return_softmax_lse=False), mode))


def test_a_graph_with_dynamic_shapes():
    case = tree_case(2, np.dtype(np.float32))
    with run_mode("graph"):
        cell = ms_nsa.NsaSelectedAttentionInfer(**run_cells.attributes_of(case))
        inputs = run_cells.forward_inputs(case, "int64")
        dynamic = [
            ms.Tensor(shape=[None, None, *t.shape[2:]], dtype=t.dtype) if i == 0 else t for i, t in enumerate(inputs)
        ]
        cell.set_inputs(*dynamic)
        results = run_cells.to_arrays(cell(*inputs))
    check_forward(case, *results)


def test_parts_of_a_cache_merged_by_their_statistics():
    """What two devices that hold halves of a cache would send each other."""
    case = replace(tree_case(3, np.dtype(np.float32)), atten_mask=None)
    whole = run_forward(case)[0]
    first = np.where(case.topk_indices % 2 == 0, case.topk_indices, -1)
    second = np.where(case.topk_indices % 2 == 1, case.topk_indices, -1)
    halves = [run_forward(replace(case, topk_indices=indices)) for indices in (first, second)]
    top = np.maximum(halves[0][1], halves[1][1])[..., :1]
    weights = [np.where(total[..., :1] > 0, total[..., :1] * np.exp(own[..., :1] - top), 0) for _, own, total in halves]
    merged = sum(weight * half[0] for weight, half in zip(weights, halves)) / np.maximum(sum(weights), 1e-30)
    np.testing.assert_allclose(merged, whole, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "error", "sentence"),
    [
        ((4, 5, 5), ValueError, "B of atten_mask must equal the number of sequences = 5, got 4"),
        ((5, 4, 5), RuntimeError, r"atten_mask must cover \[B, max Sq, max Sq\] with max Sq = 5, got \[4, 5\]"),
        ((5, 5, 4), RuntimeError, r"atten_mask must cover \[B, max Sq, max Sq\] with max Sq = 5, got \[5, 4\]"),
        ((5, 0, 0), RuntimeError, r"atten_mask must cover \[B, max Sq, max Sq\] with max Sq = 5, got \[0, 0\]"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_masks_that_do_not_fit(mode, shape, error, sentence):
    case = replace(tree_case(4, np.dtype(np.float32)), atten_mask=np.zeros(shape, bool))
    with pytest.raises(error, match=f"NsaSelectedAttentionInfer: {sentence}"), run_mode(mode):
        # a Cell of its own: in Graph mode a wrong value ends it
        cell = ms_nsa.NsaSelectedAttentionInfer(**run_cells.attributes_of(case))
        run_cells.to_arrays(cell(*run_cells.forward_inputs(case)))


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_the_switch_is_a_bool(value):
    with pytest.raises(TypeError, match="NsaSelectedAttentionInfer: return_softmax_lse must be a bool"):
        ms_nsa.NsaSelectedAttentionInfer(4, 2, 16, 4, 16, return_softmax_lse=value)
    with pytest.raises(ValueError, match="return_softmax_lse must be False within the limits of Ascend"):
        ms_nsa.NsaSelectedAttentionInfer(4, 2, 16, 4, 64, limits="ascend", return_softmax_lse=True)
