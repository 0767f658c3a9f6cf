# SPDX-License-Identifier: Apache-2.0
"""Gradients through softmax_max and softmax_sum: kernels of every ISA, Cells in both modes, and what users make of
them: merged parts, sinks, losses on the log-sum-exp."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops
from test_kernels_isa import DTYPES, isa, runner  # noqa: F401

import ms_nsa
from ms_nsa import reference
from support import check_gradients, make_select_case, run_cells
from support.case_file import select_grad_call
from support.run_cells import MODES, run_gradients, run_mode, run_training, same_bits

SIZES = {"d1": 24, "d2": 20, "select_block_size": 16, "select_block_count": 4}


def statistics_case(seed, dtype, n2=1, group=3, **arguments):
    """A case with gradients in all lanes of the statistics; among its rows are some that see nothing."""
    rng = np.random.default_rng([7, seed])
    case = make_select_case(
        rng, dtype, [9, 30, 2], [40, 90, 9], n2=n2, group=group, sparse_mode=3, **SIZES, **arguments
    )
    case.topk_indices[4] = -1
    shape = (*case.query.shape[:2], 8)
    case.statistics_grad = tuple(rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    return case


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n2", [1, 4])
def test_kernels(runner, isa, tmp_path, dtype, n2):  # noqa: F811
    """Any gradients; those of a function of the log-sum-exp; equal keys, of which the first is the largest."""
    cases = [statistics_case(seed, dtype, n2) for seed in range(3)]
    composed, equal = cases[1:]
    total = composed.forward[2]
    lane = composed.statistics_grad[0].astype(np.float64)
    composed.statistics_grad = lane.astype(np.float32), (lane / np.where(total == 0, 1, total)).astype(np.float32)
    equal.key[:] = equal.key[0]
    for case, runs in zip(cases, runner.run(tmp_path, isa, [select_grad_call(case) for case in cases], (1, 3))):
        assert same_bits(*runs)
        check_gradients(case, *runs[0])


@pytest.mark.parametrize("given", [0, 1])
def test_the_gradient_of_one_statistic_alone(given):
    case = statistics_case(4, DTYPES[1])
    zeros = np.zeros_like(case.statistics_grad[0])
    case.statistics_grad = tuple(array if i == given else zeros for i, array in enumerate(case.statistics_grad))
    both = run_gradients(case)
    check_gradients(case, *both)
    case.statistics_grad = tuple(array if i == given else None for i, array in enumerate(case.statistics_grad))
    assert same_bits(run_gradients(case), both)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cells(mode, dtype):
    case = statistics_case(3, dtype)
    results = run_training(case, mode)
    check_gradients(case, *results[3:])
    case.saved = results[:3]
    assert same_bits(run_gradients(case, mode), results[3:])


def attention_of(case, **changes):
    return ms_nsa.NsaSelectAttention(**run_cells.attributes_of(case, **changes))


def full_case():
    """Every token sees all of 64 keys; halves of them are two selections of two blocks."""
    rng = np.random.default_rng(11)
    case = make_select_case(rng, np.float32, [6], [64], n2=2, group=2, **SIZES)
    case.topk_indices = np.tile(np.arange(4, dtype=np.int32), (6, 2, 1))
    case.actual_seq_qlen = case.actual_seq_kvlen = None
    return case


@pytest.mark.parametrize("mode", MODES)
def test_halves_merged_by_their_statistics(mode):
    case = full_case()
    attention = attention_of(case, select_block_count=2)
    blocks = [run_cells.to_tensor(case.topk_indices[..., half]) for half in (slice(0, 2), slice(2, 4))]
    grad = run_cells.to_tensor(case.grad)

    def loss(query, key, value):
        first, second = attention(query, key, value, blocks[0]), attention(query, key, value, blocks[1])
        top = ops.maximum(first[1], second[1])
        weight = first[2] * ops.exp(first[1] - top), second[2] * ops.exp(second[1] - top)
        total = weight[0] + weight[1]
        out = (first[0] * weight[0][..., :1] + second[0] * weight[1][..., :1]) / total[..., :1]
        return (out * grad).sum()

    with run_mode(mode):
        gradients = ms.grad(loss, (0, 1, 2))(*map(run_cells.to_tensor, (case.query, case.key, case.value)))
        check_gradients(case, *run_cells.to_arrays(gradients))


@pytest.mark.parametrize("mode", MODES)
def test_sink_and_loss_on_the_log_sum_exp(mode):
    """A learnable sink takes part of every row's weight; the loss punishes large normalisers."""
    case = full_case()
    attention = attention_of(case)
    indices, grad = run_cells.to_tensor(case.topk_indices), run_cells.to_tensor(case.grad)
    sink = np.linspace(-1, 2, 4).astype(np.float32)

    def loss(query, key, value, sink):
        out, top, total = attention(query, key, value, indices)
        lse = (top + ops.log(total))[..., 0]
        share = ops.sigmoid(lse - sink)
        return (out * share[..., None] * grad).sum() + 0.01 * (lse**2).sum()

    def exact_loss(query, key, value, sink):
        case_arguments = {**case.arguments, "query": query, "key": key, "value": value}
        out, top, total = reference.select_attention(**case_arguments)
        lse = (top + np.log(total))[..., 0]
        share = 1 / (1 + np.exp(sink - lse))
        return (out * share[..., None] * case.grad).sum() + 0.01 * (lse**2).sum()

    arrays = case.query, case.key, case.value, sink
    with run_mode(mode):
        gradients = run_cells.to_arrays(ms.grad(loss, (0, 1, 2, 3))(*map(run_cells.to_tensor, arrays)))
    rng, exact = np.random.default_rng(2), [array.astype(np.float64) for array in arrays]
    for place, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)
        losses = []
        for step in (1e-5, -1e-5):
            moved = list(exact)
            moved[place] = moved[place] + step * direction
            losses.append(exact_loss(*moved))
        slope = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-4 * np.linalg.norm(gradient))
