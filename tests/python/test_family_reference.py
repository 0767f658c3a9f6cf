# SPDX-License-Identifier: Apache-2.0
"""Proves the oracles of the family by independent means: loops over single rows, selected and dense attention,
numerical differences, examples computed by hand."""

import doctest

import numpy as np
import pytest

from ms_nsa import family_reference, family_rules, paged_family_reference, reference
from ms_nsa.family_reference import (
    compressed_seq_lens,
    nsa_compress,
    nsa_compress_attention,
    nsa_compress_attention_grad,
    nsa_compress_grad,
    nsa_compress_importance,
    nsa_window_attention,
    nsa_window_attention_grad,
)
from support.family_cases import (
    plain_compressed_attention,
    plain_window_attention,
    random_compressed_arguments,
    random_lengths,
    random_window_arguments,
)

SEEDS = range(25)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
LAYER = {"sparse_mode": 3, "init_blocks": 1, "local_blocks": 2}


def column(*numbers):
    return np.array(numbers, np.float64).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("module", "examples"), [(family_reference, 18), (family_rules, 3), (paged_family_reference, 11)]
)
def test_docstring_examples(module, examples):
    results = doctest.testmod(module)
    assert results.failed == 0 and results.attempted >= examples


def test_compressed_rows_of_packed_sequences():
    assert compressed_seq_lens((6, 9, 13), 4, 2) == (2, 2, 3)
    assert compressed_seq_lens((0, 6, 6, 9, 13), 4, 2) == (0, 2, 2, 2, 3)
    assert compressed_seq_lens(np.array([6, 3, 4]), 4, 2, per_sequence=True) == (2, 0, 1)
    output = nsa_compress(np.arange(13.0).reshape(-1, 1, 1), np.ones((4, 1)), 4, 2, (6, 9, 13))
    np.testing.assert_array_equal(output.ravel(), [6, 14, 42])


def random_compression(seed):
    """input, weight, window size, stride, prefix sums, windows as (first raw row)."""
    rng = np.random.default_rng([11, seed])
    stride = int(rng.integers(1, 5))
    size, lens = stride + int(rng.integers(0, 6)), random_lengths(rng)
    ends = tuple(np.cumsum(lens).tolist())
    shape = (int(lens.sum()), int(rng.integers(1, 4)), int(rng.integers(1, 5)))
    starts = [end - n + c for end, n in zip(ends, lens) for c in range(0, n - size + 1, stride)]
    return rng.standard_normal(shape), rng.standard_normal((size, shape[1])), size, stride, ends, starts


@pytest.mark.parametrize("seed", SEEDS)
def test_compression_equals_every_window_by_itself(seed):
    x, weight, size, stride, ends, starts = random_compression(seed)
    output = nsa_compress(x, weight, size, stride, ends)
    expected = [np.einsum("rhe,rh->he", x[start : start + size], weight) for start in starts]
    np.testing.assert_allclose(output, np.reshape(expected, (-1, *x.shape[1:])), **CLOSE)
    assert compressed_seq_lens(ends, size, stride)[-1] == len(starts)
    outside = np.ones(len(x), bool)
    for start in starts:
        outside[start : start + size] = False
    np.testing.assert_array_equal(
        nsa_compress(np.where(outside[:, None, None], np.nan, x), weight, size, stride, ends), output
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_compression(seed):
    x, weight, size, stride, ends, starts = random_compression(seed)
    output = nsa_compress(x, weight, size, stride, ends)
    rng = np.random.default_rng([12, seed])
    grad, spare = rng.standard_normal(output.shape), np.full((2, *x.shape[1:]), np.nan)
    dx, dweight = nsa_compress_grad(np.concatenate([grad, spare]), x, weight, size, stride, ends)
    # Compression is linear in both, so the gradient is the transposed map.
    for start, gradient, other in ((x, dx, lambda v: (v, weight)), (weight, dweight, lambda v: (x, v))):
        direction = rng.standard_normal(start.shape)
        moved = nsa_compress(*other(direction), size, stride, ends)
        np.testing.assert_allclose((moved * grad).sum(), (direction * gradient).sum(), **CLOSE)
    inside = {row for start in starts for row in range(start, start + size)}
    assert not dx[[row for row in range(len(x)) if row not in inside]].any()


def test_compression_without_weight_is_the_mean():
    x = np.random.default_rng(0).standard_normal((23, 2, 3))
    output = nsa_compress(x, None, 5, 3)
    np.testing.assert_allclose(output, np.lib.stride_tricks.sliding_window_view(x, 5, 0)[::3].mean(-1), **CLOSE)
    dx, dweight = nsa_compress_grad(output, x, None, 5, 3)
    np.testing.assert_array_equal(dx, nsa_compress_grad(output, x, np.full((5, 2), 1 / 5), 5, 3)[0])
    assert dweight is None
    np.testing.assert_array_equal(nsa_compress(x, np.ones((1, 2)), 1, 1), x)
    assert nsa_compress(x[:4], None, 5, 3).shape == (0, 2, 3)


def test_hand_computed_sequences_of_two_heads():
    query = np.tile([[0.0], [1.0]], (16, 1, 1))
    key, value = np.log(column(1, 2, 4, 1, 1, 3)), column(1, 2, 3, 4, 5, 6)
    ends = {"actual_seq_qlen": (10, 16), "sparse_mode": 3}
    choice = {"init_blocks": 1, "local_blocks": 1}
    out, topk, top, total = nsa_compress_attention(query, key, value, 1.0, 2, 4, 2, 4, 2, **ends, **choice)
    importance = nsa_compress_importance(query, key, 1.0, 2, 4, 2, 4, **ends)[:, 0]
    np.testing.assert_allclose(out[[7, 9, 10, 15], :, 0], [[2, 17 / 7], [2.5, 2.625], [0, 0], [5.5, 5.75]])
    np.testing.assert_allclose(total[[7, 9, 10, 15], :, 0], [[3, 1.75], [4, 2], [0, 0], [2, 4 / 3]])
    np.testing.assert_allclose(top[[7, 10], :, 3], [[0, np.log(4)], [-np.inf, -np.inf]])
    np.testing.assert_allclose(importance[[7, 9, 15]], [[11 / 7, 17 / 7, 0], [1.25, 2.375, 0.375], [2.75, 1.25, 0]])
    assert topk[[9, 10], 0].tolist() == [[0, 2], [0, -1]] and topk.dtype == np.int32


@pytest.mark.parametrize(
    ("sizes", "rows", "weights"),
    [
        ((4, 2, 4), 10, [[2, 0, 0], [1, 1, 0], [0, 2, 0], [0, 1, 1]]),
        ((32, 16, 64), 160, [[2, 0, 0]] * 3 + [[1, 1, 0]] + [[0, 2, 0]] * 3 + [[0, 1, 1], [0, 0, 2]]),
        ((64, 16, 64), 128, [[4, 0], [3, 1], [2, 2], [1, 3], [0, 4]]),
        ((8, 8, 8), 24, np.eye(3)),
        ((6, 3, 2), 9, [[2 / 3, 2 / 3, 2 / 3, 0, 0], [0, 1 / 3, 2 / 3, 2 / 3, 1 / 3]]),  # windows longer than blocks
    ],
)  # fmt: skip
def test_importance_of_one_window_is_its_overlap_with_the_blocks(sizes, rows, weights):
    for window, expected in enumerate(weights):
        key = np.zeros((len(weights), 1, 1))
        key[window] = 1000
        importance = nsa_compress_importance(np.ones((rows, 1, 1)), key, 1.0, 1, *sizes, sparse_mode=3)
        np.testing.assert_allclose(importance[-1, 0], expected, err_msg=f"window {window}")


def importance_rows(arguments):
    names = ("topk_mask", "select_block_count", "init_blocks", "local_blocks", "value")
    return nsa_compress_importance(**{name: given for name, given in arguments.items() if name not in names})


@pytest.mark.parametrize("seed", range(80))
def test_compressed_attention_equals_loops_over_rows(seed):
    arguments = random_compressed_arguments(np.random.default_rng([13, seed]))
    out, topk, top, total = nsa_compress_attention(**arguments)
    expected = plain_compressed_attention(**arguments)
    for mine, its in zip((out, top[..., 5], total[..., 0]), (expected[0], *expected[2:4])):
        np.testing.assert_allclose(mine, its, **CLOSE)
    np.testing.assert_array_equal(topk, expected[1])
    importance = importance_rows(arguments)
    for (token, head), row in expected[4].items():
        np.testing.assert_allclose(importance[token, head, : len(row)], row, **CLOSE)
        assert not importance[token, head, len(row) :].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_importance_sums_to_the_group_times_the_overlap_of_windows(seed):
    arguments = random_compressed_arguments(np.random.default_rng([14, seed]))
    _, _, _, total = nsa_compress_attention(**arguments)
    group = arguments["head_num"] // arguments["key"].shape[1]
    each = group * arguments["compress_block_size"] / arguments["compress_stride"]
    sees = total[:, ::group, 0] > 0
    np.testing.assert_allclose(importance_rows(arguments).sum(axis=2), np.where(sees, each, 0), **CLOSE)


@pytest.mark.parametrize("sparse_mode", [0, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_compressed_attention_is_selected_attention_over_windows(sparse_mode, seed):
    """All windows selected one by one, the rule of windows as a mask."""
    rng = np.random.default_rng([15, seed])
    size, stride, rows = 5, 3, 31
    windows = (rows - size) // stride + 1
    query, key, value = (rng.standard_normal((*n, 3)) for n in ((24, 4), (windows, 2), (windows, 2)))
    position = np.arange(24)[:, None] + (7 if sparse_mode != 2 else 0)
    hidden = np.arange(windows) * stride + size - 1 > position
    if sparse_mode == 0:
        hidden = rng.random((24, windows)) < 0.5
    ends = {"actual_seq_qlen": (24,), "actual_seq_kvlen": (31,), "sparse_mode": sparse_mode}
    mask = hidden if sparse_mode == 0 else None
    out, _, top, total = nsa_compress_attention(query, key, value, None, 4, size, stride, 4, 3, atten_mask=mask, **ends)
    every = np.tile(np.arange(windows), (24, 2, 1))
    expected = reference.select_attention(query, key, value, every, None, 1, atten_mask=hidden)
    for mine, its in zip((out, top, total), expected):
        np.testing.assert_array_equal(mine, its)
    statistics = nsa_compress_attention_grad(out, query, key, value, None, 4, size, stride, atten_mask=mask, **ends)
    for mine, its in zip(statistics, reference.select_attention_grad(out, query, key, value, every, None, 1, hidden)):
        np.testing.assert_allclose(mine, its, **CLOSE)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 47, 48, *range(63, 82), 95, 96, 127, 128, 129, 976, 991, 1025])
def test_chosen_blocks_keep_to_the_rules_at_every_length(rows):
    rng, n = np.random.default_rng(rows), 16
    query, windows = rng.standard_normal((rows, 2, 2)), max(0, (rows - 32) // 16 + 1)
    key = rng.standard_normal((windows, 1, 2))
    out, topk, top, total = nsa_compress_attention(query, key, key, 1.0, 2, 32, 16, 64, n, **LAYER)
    for token, row in enumerate(topk[:, 0]):
        own, blocks = token // 64, [j for j in row.tolist() if j >= 0]
        assert len(blocks) == min(n, own + 1) and blocks == sorted(set(blocks)) and blocks[-1] == own
        assert {0, own, max(0, own - 1)} <= set(blocks) and (row[len(blocks) :] == -1).all()
    empty = np.arange(rows) < 31
    assert not out[empty].any() and (total[~empty] >= 1).all() and np.isneginf(top[empty]).all()


def test_all_blocks_chosen_make_selected_attention_dense():
    rng = np.random.default_rng(3)
    query, raw = rng.standard_normal((50, 4, 3)), rng.standard_normal((50, 2, 3))
    key = nsa_compress(raw, None, 6, 4)
    _, topk, _, _ = nsa_compress_attention(query, key, key, None, 4, 6, 4, 7, 9, **LAYER)
    expected = nsa_window_attention(query, raw, raw, None, 4, 50)
    for mine, its in zip(reference.select_attention(query, raw, raw, topk, None, 7, sparse_mode=3), expected):
        np.testing.assert_array_equal(mine, its)


def ranked(importance, forced=(), n=3):
    forced = np.isin(np.arange(len(importance)), forced)
    return family_rules.choose(np.array(importance, np.float64), forced, n).tolist()


def test_order_of_the_choice():
    nan = np.nan
    assert ranked([1, 2, 2, 2, 1]) == [1, 2, 3]
    assert ranked([1, 2, 2, 2, 2], n=2) == [1, 2]
    assert ranked([0, 0, 0, 0]) == [0, 1, 2]
    assert ranked([5, nan, 7, nan, nan, nan]) == [1, 3, 4]
    assert ranked([5, 1, 7, nan], forced=[1], n=2) == [1, 3]
    assert ranked([5, 1, 7, 9, nan], forced=[4, 2, 1, 3], n=3) == [1, 2, 3]
    assert ranked([5, 1]) == [0, 1] and ranked([]) == [] and ranked([1, 2], [0], 0) == []


def topk_of(rows=12, tokens=None, n=3, **rest):
    """Equal scores, windows and blocks of 2 rows: importance 1 / V of every visible block but an open one."""
    tokens, zeros = tokens or rows, np.zeros((rows // 2, 1, 1))
    ends = {"actual_seq_qlen": (tokens,), "actual_seq_kvlen": (rows,)}
    query = np.ones((tokens, 1, 1))
    return nsa_compress_attention(query, zeros, zeros, 1.0, 1, 2, 2, 2, n, **ends, **rest)[1][:, 0].tolist()


def test_masks_and_forced_blocks():
    force = np.zeros((12, 6), bool)
    force[:, 5] = force[3, 1:] = True
    # Mode 0: every block of the sequence is a candidate, the forced one whatever the position.
    assert topk_of(topk_mask=force)[0] == [0, 1, 5] and topk_of(topk_mask=force)[3] == [1, 2, 3]
    # Modes 2 and 3: a forced future block is ignored.
    for mode in (2, 3):
        assert topk_of(topk_mask=force, sparse_mode=mode)[:4] == [[0, -1, -1]] * 2 + [[0, 1, -1]] * 2
    drop = np.ones((12, 6), np.uint8)
    drop[7, 4] = 0
    for row, expected in ((7, [0, 1, 4]), (8, [0, 1, 2])):  # in row 8 every window is dropped
        assert topk_of(atten_mask=drop)[row] == expected
    assert topk_of(rows=4)[0] == [0, 1, -1]  # fewer blocks than slots
    assert topk_of(local_blocks=2, init_blocks=1)[6] == [0, 2, 3]  # local: those up to the own one, in mode 0 too
    assert topk_of(local_blocks=2, init_blocks=2, n=3)[11] == [0, 1, 4]  # more forced than slots
    assert topk_of(n=0) == [[]] * 12


def test_more_queries_than_rows():
    late = [[0, -1, -1]] * 2 + [[0, 1, -1]] * 2
    assert topk_of(rows=4, tokens=6, sparse_mode=3) == [[-1, -1, -1]] * 2 + late  # no position, no candidate
    assert topk_of(rows=4, tokens=6, sparse_mode=2) == late + [[0, 1, -1]] * 2
    assert topk_of(rows=4, tokens=6) == [[0, 1, -1]] * 6
    query, rows = np.ones((5, 1, 1)), column(2, 4)
    out, top, total = nsa_window_attention(query, rows, rows, 0.0, 1, 3)
    assert out.ravel().tolist() == [0, 0, 0, 2, 3] and total[:, 0, 0].tolist() == [0, 0, 0, 1, 2]
    assert top[:, 0, 0].tolist() == [-np.inf] * 3 + [0, 0]


def test_nan_reaches_only_the_queries_that_see_it():
    rng = np.random.default_rng(5)
    query, raw = rng.standard_normal((40, 2, 3)), rng.standard_normal((40, 1, 3))
    raw[22] = np.nan  # in windows 4 (rows 16 to 23) and 5 (20 to 27)
    key = nsa_compress(raw, None, 8, 4)
    assert np.flatnonzero(np.isnan(key).any(axis=(1, 2))).tolist() == [4, 5]
    out, topk, _, _ = nsa_compress_attention(query, key, key, 1.0, 2, 8, 4, 4, 4, **LAYER)
    assert not np.isnan(out[:23]).any() and np.isnan(out[23:]).all()
    # All visible windows are NaN, so are the blocks they cover; of 31's the block 7 and 6 are local, 0 and 1 lowest.
    assert topk[31, 0].tolist() == [0, 1, 6, 7]
    importance = nsa_compress_importance(query, key, 1.0, 2, 8, 4, 4, sparse_mode=3)[:, 0]
    assert np.isnan(importance[24, :6]).all() and not importance[24, 6:].any()  # the open block shares no row
    np.testing.assert_array_equal(
        nsa_compress_attention(query[:23], key, key, 1.0, 2, 8, 4, 4, 4, actual_seq_kvlen=(23,), **LAYER)[1], topk[:23]
    )


@pytest.mark.parametrize("seed", range(10))
def test_the_past_does_not_change(seed):
    """New values after position p, and fewer tokens, leave all results up to p as they are, bit by bit."""
    arguments = random_compressed_arguments(np.random.default_rng([16, seed]), sparse_mode=3, masks=False)
    size, stride = arguments["compress_block_size"], arguments["compress_stride"]
    rows, rng = 30, np.random.default_rng([17, seed])
    n2, raw = arguments["key"].shape[1], rng.standard_normal((rows, arguments["key"].shape[1], 3))
    query, kept = rng.standard_normal((rows, arguments["head_num"], 3)), int(rng.integers(1, rows))
    for name in ("query", "key", "value", "actual_seq_qlen", "actual_seq_kvlen", "topk_mask", "atten_mask"):
        del arguments[name]

    def run(raw, query):
        key = nsa_compress(raw, None, size, stride)
        return [
            *nsa_compress_attention(query, key, key, **arguments),
            *nsa_window_attention(query, raw, raw, 1.0, n2 * (arguments["head_num"] // n2), 7),
        ]

    poisoned = np.where(np.arange(rows)[:, None, None] < kept, raw, np.nan)
    for mine, its, short in zip(run(raw, query), run(poisoned, query), run(raw[:kept], query[:kept])):
        np.testing.assert_array_equal(mine[:kept], its[:kept])
        np.testing.assert_array_equal(mine[:kept], short)


@pytest.mark.parametrize("seed", SEEDS)
def test_window_attention_equals_loops_over_rows(seed):
    arguments = random_window_arguments(np.random.default_rng([18, seed]))
    out, top, total = nsa_window_attention(**arguments)
    for mine, its in zip((out, top[..., 2], total[..., 7]), plain_window_attention(**arguments)):
        np.testing.assert_allclose(mine, its, **CLOSE)


@pytest.mark.parametrize("window_size", [1, 5, 19, 20, 1000])
def test_window_attention_equals_banded_selected_attention(window_size):
    rng = np.random.default_rng(window_size)
    query, key, value, grad = (rng.standard_normal(n) for n in ((14, 4, 3), (20, 2, 3), (20, 2, 5), (14, 4, 5)))
    position = np.arange(14)[:, None] + 6
    band = np.arange(20) <= position - window_size  # all rows for window_size >= Sk: dense causal attention
    every = np.zeros((14, 2, 1), np.int32), None, 20
    out, *statistics = nsa_window_attention(query, key, value, None, 4, window_size)
    for mine, its in zip(
        (out, *statistics), reference.select_attention(query, key, value, *every, band, sparse_mode=3)
    ):
        np.testing.assert_array_equal(mine, its)
    gradients = nsa_window_attention_grad(grad, query, key, value, None, 4, window_size)
    expected = reference.select_attention_grad(grad, query, key, value, *every, band, sparse_mode=3)
    for mine, its in zip(gradients, expected):
        np.testing.assert_allclose(mine, its, **CLOSE)
    if window_size == 1:
        np.testing.assert_array_equal(out, value[6:].repeat(2, axis=1))


def differences(objective, start, direction, step=1e-5):
    return (objective(start + step * direction) - objective(start - step * direction)) / (2 * step)


def check_gradients(forward, gradients, arguments, rng):
    """``forward`` gives attention_out and the statistics; ``gradients`` their gradient for random ones."""
    grads = [rng.standard_normal(array.shape) for array in forward(**arguments)]

    def objective(**changed):
        # An empty row's -inf has no gradient.
        results = forward(**{**arguments, **changed})
        return sum((grad * np.where(np.isfinite(array), array, 0)).sum() for grad, array in zip(grads, results))

    for name, gradient in zip(("query", "key", "value"), gradients(*grads)):
        start = np.nan_to_num(arguments[name])
        direction = rng.standard_normal(start.shape)
        found = differences(lambda array, name=name: objective(**{name: array}), start, direction)
        size = np.sqrt((gradient**2).sum())
        assert abs(found - (gradient * direction).sum()) <= 1e-6 * (1 + size), name


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_compressed_attention_equals_differences(seed):
    rng = np.random.default_rng([19, seed])
    arguments = random_compressed_arguments(rng)
    of_choice = ("select_block_size", "select_block_count", "topk_mask", "init_blocks", "local_blocks")
    rest = {name: given for name, given in arguments.items() if name not in of_choice}

    def forward(**arguments):
        out, _, *statistics = nsa_compress_attention(**arguments)
        return out, *statistics

    def gradients(grad, dtop, dtotal):
        return nsa_compress_attention_grad(grad, **rest, softmax_max_grad=dtop, softmax_sum_grad=dtotal)

    check_gradients(forward, gradients, arguments, rng)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_window_attention_equals_differences(seed):
    rng = np.random.default_rng([20, seed])
    arguments = random_window_arguments(rng)

    def gradients(grad, dtop, dtotal):
        return nsa_window_attention_grad(grad, **arguments, softmax_max_grad=dtop, softmax_sum_grad=dtotal)

    check_gradients(nsa_window_attention, gradients, arguments, rng)


def test_gradient_of_the_chain_equals_differences():
    """Two raw tensors and two weights through compression and attention, packed sequences."""
    rng = np.random.default_rng(21)
    size, stride, ends = 5, 2, (3, 17, 30)
    query, grad = rng.standard_normal((30, 4, 3)), rng.standard_normal((30, 4, 2))
    raw, weights = [rng.standard_normal((30, 2, width)) for width in (3, 2)], rng.standard_normal((2, size, 2))
    lens = {"actual_seq_qlen": ends, "sparse_mode": 3}

    def objective(raw_key, key_weight, raw_value, value_weight):
        key, value = (
            nsa_compress(*pair, size, stride, ends) for pair in ((raw_key, key_weight), (raw_value, value_weight))
        )
        return (grad * nsa_compress_attention(query, key, value, None, 4, size, stride, 4, 3, **lens)[0]).sum()

    inputs = raw[0], weights[0], raw[1], weights[1]
    rows = [nsa_compress(*pair, size, stride, ends) for pair in (inputs[:2], inputs[2:])]
    _, dk, dv = nsa_compress_attention_grad(grad, query, *rows, None, 4, size, stride, **lens)
    gradients = [
        *nsa_compress_grad(dk, *inputs[:2], size, stride, ends),
        *nsa_compress_grad(dv, *inputs[2:], size, stride, ends),
    ]
    for i, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)
        found = differences(lambda array, i=i: objective(*inputs[:i], array, *inputs[i + 1 :]), inputs[i], direction)
        assert found == pytest.approx((gradient * direction).sum(), rel=1e-7)


def test_gradient_of_a_maximum_goes_to_the_first_of_equals():
    query, key = np.ones((1, 1, 1)), column(0, 2, 1, 2)
    gm, gs = np.full((1, 1, 8), 1 / 8), np.zeros((1, 1, 8))
    dq, dk, dv = nsa_window_attention_grad(0 * query, query, key, key, 1.0, 1, 4, softmax_max_grad=gm)
    assert dq.item() == 2 and dk.ravel().tolist() == [0, 1, 0, 0] and not dv.any()
    gs[..., 3] = 1  # a single lane counts as all do
    _, dk, _ = nsa_window_attention_grad(0 * query, query, key, key, 1.0, 1, 4, softmax_sum_grad=gs)
    np.testing.assert_allclose(dk.ravel(), np.exp([-2, 0, -1, 0]) - [0, 2 + np.exp(-1) + np.exp(-2), 0, 0])


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"actual_seq_kvlen": (9, 8)}, "actual_seq_kvlen must not decrease"),
        ({"actual_seq_kvlen": (4, 5, 8)}, "actual_seq_kvlen must have 2 entries"),
        ({"actual_seq_qlen": (3, 7)}, "actual_seq_qlen must end with 8"),
        ({"actual_cmp_seq_kvlen": (1, 3)}, r"actual_cmp_seq_kvlen must be \[1, 2\]"),
        ({"actual_seq_kvlen": (5, 30)}, "key must have at least 12 rows, got 2"),
        ({"head_num": 2}, "head_num must be 1"),
    ],
)
def test_lengths_that_do_not_fit_are_errors(rest, message):
    query, key = np.zeros((8, 1, 1)), np.zeros((2, 1, 1))
    arguments = {"head_num": 1, "compress_block_size": 4, "compress_stride": 2, "select_block_size": 4}
    arguments |= {"scale_value": 1.0, "select_block_count": 2, "actual_seq_qlen": (4, 8)}
    nsa_compress_attention(query, key, key, **arguments, actual_cmp_seq_kvlen=(1, 2), actual_sel_seq_kvlen=(0, 0))
    with pytest.raises(ValueError, match=message):
        nsa_compress_attention(query, key, key, **{**arguments, **rest})
