# SPDX-License-Identifier: Apache-2.0
"""Proves the comparison: it accepts kernels that round where they must, and nothing that is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from ms_nsa import reference
from support import (
    BARS,
    DTYPES,
    NAMED_CASES,
    SELECT_CASES,
    SelectCase,
    check_forward,
    check_gradients,
    compare_tensor,
    random_paged_case,
    random_select_case,
    term_scales,
)
from support.marks import slow


def rounded_forward(case):
    """A kernel in float32 that rounds where real ones do: the exponentials and the output."""
    query, key, value = (a.astype(np.float32) for a in (case.query_rows, case.key_rows, case.value_rows))
    out = np.zeros((*query.shape[:2], value.shape[2]), np.float32)
    top, total = (
        np.full((*query.shape[:2], 8), -np.inf, np.float32),
        np.zeros((*query.shape[:2], 8), np.float32),
    )
    for token, head, rows, count in case.selections():
        group = reference.group_of(head, query.shape[1], key.shape[1])
        scores = np.float32(case.scale) * (query[token, group] @ key[rows, head].T)
        top[token, group] = scores.max(axis=1, keepdims=True)
        exponentials = np.exp(scores - top[token, group, :1])
        total[token, group] = (count * exponentials).sum(axis=1, keepdims=True)
        p = exponentials.astype(case.dtype).astype(np.float32) * np.float32(count)
        out[token, group] = p @ value[rows, head] / total[token, group, :1]
    out = out.astype(case.dtype).reshape(case.attention_out_shape)
    return (out, top, total) if isinstance(case, SelectCase) else (out,)


def rounded_gradients(case):
    """Likewise: p, ds and the results are rounded, and delta comes from the rounded attention_out."""
    q, k, v, g, out = (a.astype(np.float32) for a in (case.query, case.key, case.value, case.grad, case.saved[0]))
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for token, head, rows, count in case.selections():
        group, scale = reference.group_of(head, q.shape[1], k.shape[1]), np.float32(case.scale)
        _, top, total = (array[token, group, :1] for array in case.saved)
        p = np.exp(scale * (q[token, group] @ k[rows, head].T) - top) / total
        delta = (g[token, group] * out[token, group]).sum(axis=1, keepdims=True)
        ds = p * (g[token, group] @ v[rows, head].T - delta)
        p, ds = (x.astype(case.dtype).astype(np.float32) * np.float32(count) for x in (p, ds))
        dq[token, group] = scale * (ds @ k[rows, head])
        dk[rows, head] += scale * (ds.T @ q[token, group])
        dv[rows, head] += p.T @ g[token, group]
    return tuple(array.astype(case.dtype) for array in (dq, dk, dv))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [random_select_case, random_paged_case])
def test_comparison_accepts_rounded_kernels_on_random_cases(draw, dtype):
    for seed in range(50):
        case = draw(np.random.default_rng([9, seed]), DTYPES[dtype])
        check_forward(case, *rounded_forward(case))
        if isinstance(case, SelectCase):
            check_gradients(case, *rounded_gradients(case))


@pytest.mark.parametrize("dtype", [slow("float16"), "bfloat16", slow("float32")])
@pytest.mark.parametrize("name", NAMED_CASES)
def test_comparison_accepts_rounded_kernels_on_named_cases(name, dtype):
    case = NAMED_CASES[name](DTYPES[dtype])
    check_forward(case, *rounded_forward(case))
    if isinstance(case, SelectCase):
        check_gradients(case, *rounded_gradients(case))


def judged(case):
    """Each tensor as (kind, rounded result, oracle's, size of terms)."""
    terms = term_scales(case, gradients=True)
    yield "out", rounded_forward(case)[0], case.forward[0], terms["attention_out"]
    for name, actual, expected in zip(("dq", "dk", "dv"), rounded_gradients(case), case.gradients):
        yield "grad", actual, expected, terms[name]


def typical_element(expected, terms):
    """The element of median size against its scale, of those that are not zero."""
    size = np.abs(expected) / np.maximum(np.maximum(np.abs(expected), terms), 1e-30)
    order = np.argsort(size, axis=None)
    return np.unravel_index(order[-np.count_nonzero(size) // 2], size.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparison_rejects_a_single_wrong_element(dtype):
    case = SELECT_CASES["select_two_sequences"](DTYPES[dtype])
    for kind, actual, expected, terms in judged(case):
        where = typical_element(expected, terms)
        for wrong in (0, -actual[where], np.nan, np.inf, actual[where] * np.float32(1.1)):
            broken = actual.copy()
            broken[where] = wrong
            failure = compare_tensor(broken, expected, kind, dtype, terms).failure
            assert f"at {[int(i) for i in where]}: got" in failure, (kind, wrong, failure)


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparison_rejects_misplaced_and_stale_results(dtype):
    case = SELECT_CASES["select_two_sequences"](DTYPES[dtype])
    for kind, actual, expected, terms in judged(case):
        swapped, cleared, stale = actual.copy(), actual.copy(), actual.copy()
        swapped[:, [0, 1]] = swapped[:, [1, 0]]
        cleared[2, 1] = 0
        stale[2, 1] = stale[3, 1]
        for broken in (swapped, cleared, stale, actual[:, :1], actual[..., None], 2 * actual):
            assert compare_tensor(broken, expected, kind, dtype, terms).failure, kind


def test_comparison_rejects_less_precision():
    coarser = {"float16": "bfloat16", "float32": "float16"}
    for dtype, coarse in coarser.items():
        case = SELECT_CASES["select_two_sequences"](DTYPES[dtype])
        for kind, _, expected, terms in judged(case):
            assert compare_tensor(expected.astype(DTYPES[coarse]), expected, kind, dtype, terms).failure, kind


def test_comparison_wants_exact_zeros_where_nothing_is_seen():
    case = SELECT_CASES["select_empty_rows"](np.float16)
    empty = np.argwhere(np.isneginf(case.forward[1]))[0]
    out, top, total = (array.copy() for array in case.forward)
    check_forward(case, out, top, total)
    for array, wrong in ((out, 1e-7), (top, -3e38), (total, 1e-7)):
        array[tuple(empty)], right = wrong, array[tuple(empty)]
        with pytest.raises(AssertionError, match=r"select_empty_rows: query=float16\[14, 6, 37\]"):
            check_forward(case, out, top, total)
        array[tuple(empty)] = right
    case = replace(case, topk_indices=np.minimum(case.topk_indices, 0))  # rows beyond block 0 get no gradient
    dk = case.gradients[1].copy()
    dk[60, 1, 36] = 1e-8
    with pytest.raises(AssertionError, match="dk has an element off"):
        check_gradients(case, case.gradients[0], dk, case.gradients[2])


def once_each(case):
    """Later occurrences of a block are dropped."""
    earlier = np.tril(case.topk_indices[..., :, None] == case.topk_indices[..., None, :], -1).any(axis=-1)
    return replace(case, topk_indices=np.where(earlier, -1, case.topk_indices))


def head_0_rows(case):
    return replace(case, topk_indices=np.broadcast_to(case.topk_indices[..., :1, :], case.topk_indices.shape))


def absent_is_block_0(case):
    return replace(case, topk_indices=np.maximum(case.topk_indices, 0))


def one_slot_less(case):
    topk = case.topk_indices.copy()
    token = next(case.selections())[0]
    topk.reshape(-1, *topk.shape[-2:])[token, 0] = -1
    return replace(case, topk_indices=topk)


def left_up(case):
    return replace(case, sparse_mode=2)


def no_causal(case):
    return replace(case, sparse_mode=0)


def no_mask(case):
    return replace(case, atten_mask=None)


def mask_of_first_token(case):
    return replace(case, atten_mask=np.broadcast_to(case.atten_mask[:1], case.atten_mask.shape))


def other_scale(case):
    return replace(case, scale_value=case.scale * 1.05)


def pages_in_order(case):
    return replace(case, block_table=np.sort(case.block_table, axis=-1)[:, ::-1])


def one_token_each(case):
    """Every token sees all rows, as if it were the last of its sequence."""
    shape = (len(case.query_rows), 1, *case.query.shape[2:])
    return replace(
        case, query=case.query.reshape(shape), topk_indices=case.topk_rows[:, None], actual_seq_qlen=None,
        actual_seq_kvlen=tuple(np.repeat(case.actual_seq_kvlen, case.query.shape[1])),
        block_table=np.repeat(case.block_table, case.query.shape[1], axis=0),
    )  # fmt: skip


WRONG = [
    ("select_repeated", once_each),
    ("select_two_sequences", head_0_rows),
    ("select_two_sequences", one_slot_less),
    ("select_two_sequences", other_scale),
    ("select_holes", absent_is_block_0),
    ("select_right_down_causal", left_up),
    ("select_right_down_causal", no_causal),
    ("select_left_up_causal", no_causal),
    ("select_mask_bool", no_mask),
    ("select_mask_uint8", mask_of_first_token),
    ("select_mask_and_left_up_causal", no_mask),
    ("paged_one_block_in_every_slot", head_0_rows),
    ("paged_repeated", once_each),
    ("paged_multi_token", head_0_rows),
    ("paged_multi_token", pages_in_order),
    ("paged_multi_token", one_slot_less),
    ("paged_tokens_across_a_block", one_token_each),
    ("paged_left_up_causal", no_causal),
    ("paged_mask_bool", no_mask),
]


@pytest.mark.parametrize(("name", "mutate"), WRONG)
@pytest.mark.parametrize("dtype", DTYPES)
def test_comparison_rejects_wrong_semantics(name, mutate, dtype):
    case = NAMED_CASES[name](DTYPES[dtype])
    wrong = mutate(case)
    with pytest.raises(AssertionError):
        check_forward(case, *(a.reshape(b.shape) for a, b in zip(rounded_forward(wrong), rounded_forward(case))))
    if isinstance(case, SelectCase):
        with pytest.raises(AssertionError):
            check_gradients(case, *rounded_gradients(wrong))


def test_overflow_of_the_storage_type_is_inf():
    expected = np.array([7e4, -7e4, 6e4])
    assert not compare_tensor(np.float16([np.inf, -np.inf, 6e4]), expected, "grad", "float16").failure
    assert compare_tensor(np.float16([np.inf, 65504, 6e4]), expected, "grad", "float16").failure
    assert compare_tensor(np.float16([np.inf, -np.inf, np.inf]), expected, "grad", "float16").failure


def test_every_dtype_has_every_bar():
    assert set(BARS) == set(DTYPES)
    assert {tuple(bars) for bars in BARS.values()} == {("out", "grad", "softmax_max", "softmax_sum")}
