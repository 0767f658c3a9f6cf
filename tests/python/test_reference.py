# SPDX-License-Identifier: Apache-2.0
"""Proves the oracle by independent means: dense attention, numerical differences, loops over single rows."""

import doctest
import itertools
from dataclasses import replace

import numpy as np
import pytest

from ms_nsa import reference
from support import (
    DTYPES,
    NAMED_CASES,
    PAGED_CASES,
    SELECT_CASES,
    SelectCase,
    make_select_case,
    random_paged_case,
    random_select_case,
)

SEEDS = range(60)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def test_docstring_examples():
    results = doctest.testmod(reference)
    assert results.failed == 0 and results.attempted >= 10


def results_of(case):
    return (*case.forward, *case.gradients) if isinstance(case, SelectCase) else (case.forward,)


def assert_same_results(case, other):
    for mine, its in zip(results_of(case), results_of(other)):
        np.testing.assert_array_equal(mine, its, err_msg=str(case))


def lengths_of(ends):
    return np.diff(ends, prepend=0)


def dense_multiplicity(case):
    """[T1, N2, T2]: how often token t sees kv row j through kv head h, decided for each row by itself."""
    sequence, position = [], []
    for lengths in (lengths_of(case.q_ends), lengths_of(case.kv_ends)):
        sequence.append(np.repeat(np.arange(len(lengths)), lengths))
        position.append(np.concatenate([np.arange(n) for n in lengths]))
    of_q, of_kv = position[0][:, None], position[1][None, :]
    visible = sequence[0][:, None] == sequence[1][None, :]
    if case.sparse_mode == 2:
        visible &= of_kv <= of_q
    if case.sparse_mode == 3:
        to_q_end = lengths_of(case.q_ends)[sequence[0]][:, None] - of_q
        to_kv_end = lengths_of(case.kv_ends)[sequence[1]][None, :] - of_kv
        visible &= to_kv_end >= to_q_end
    if case.atten_mask is not None:
        visible &= ~case.atten_mask[of_q, of_kv].astype(bool)
    block = position[1] // case.select_block_size
    listed = (case.topk_indices[..., None] == block).sum(axis=2)
    return listed * visible[:, None, :]


def scale_of(case):
    d1 = case.key_rows.shape[-1]
    return d1**-0.5 if case.scale_value is None else case.scale_value


def dense_attention(case):
    """Attention over all rows of the tensor at once, with exponentials of the bare scores."""
    group = case.head_num // case.key_value_head_num
    query, key, value = (array.astype(np.float64) for array in (case.query, case.key, case.value))
    key, value = key.repeat(group, axis=1), value.repeat(group, axis=1)
    scores = scale_of(case) * np.einsum("tnd,jnd->tnj", query, key)
    times = dense_multiplicity(case).repeat(group, axis=1)
    exponentials = times * np.exp(scores)
    total = exponentials.sum(axis=-1, keepdims=True)
    weights = np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf, where=times > 0)
    shifted = np.where(total > 0, total * np.exp(-np.where(total > 0, top, 0)), 0)
    return np.einsum("tnj,jnd->tnd", weights, value), top, shifted


def named_select(*without):
    return [name for name in SELECT_CASES if not any(word in name for word in without)]


def check_dense(case):
    for actual, expected in zip(case.forward, dense_attention(case)):
        np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape), **CLOSE, err_msg=str(case))


@pytest.mark.parametrize("seed", SEEDS)
def test_forward_equals_dense_attention(seed):
    check_dense(random_select_case(np.random.default_rng([1, seed]), np.float32))


@pytest.mark.parametrize("name", named_select("thousands", "beyond_float16", "nan"))
def test_named_forward_equals_dense_attention(name):
    check_dense(SELECT_CASES[name](DTYPES["bfloat16"]))


def objective(case, **changed):
    """The scalar whose gradient select_attention_grad gives."""
    out, _, _ = reference.select_attention(**{**case.arguments, **changed})
    return (out * case.grad.astype(np.float64)).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_equals_differences_along_random_directions(seed):
    rng = np.random.default_rng([2, seed])
    case, step = random_select_case(rng, np.float32), 1e-5
    for name, gradient in zip(("query", "key", "value"), case.gradients):
        start, direction = getattr(case, name).astype(np.float64), rng.standard_normal(gradient.shape)
        ahead = objective(case, **{name: start + step * direction})
        behind = objective(case, **{name: start - step * direction})
        size = np.sqrt((gradient**2).sum())
        assert abs((ahead - behind) / (2 * step) - (gradient * direction).sum()) <= 1e-6 * (1 + size), str(case)


@pytest.mark.parametrize("seed", range(20))
def test_gradient_of_the_statistics_equals_differences(seed):
    """Repeated blocks included; every lane of a statistic has a gradient of its own."""
    rng = np.random.default_rng([8, seed])
    case, step = random_select_case(rng, np.float32), 1e-6
    case.scale_value = float(np.clip(case.scale, -1, 1))
    grad_max, grad_sum = rng.standard_normal((2, *case.forward[1].shape))
    sees = case.forward[2] > 0
    gradients = reference.select_attention_grad(
        0 * case.grad, **case.arguments, softmax_max_grad=grad_max, softmax_sum_grad=grad_sum
    )
    assert not gradients[2].any()
    for name, gradient in zip(("query", "key"), gradients):
        start, direction = getattr(case, name).astype(np.float64), rng.standard_normal(gradient.shape)
        ahead, behind = (
            np.where(sees, reference.select_attention(**{**case.arguments, name: start + s * direction})[1:], 0)
            for s in (step, -step)
        )
        found = ((ahead - behind) * (grad_max, grad_sum)).sum() / (2 * step)
        assert found == pytest.approx((gradient * direction).sum(), rel=1e-4, abs=1e-4), str(case)


@pytest.mark.parametrize("sparse_mode", [0, 2, 3])
def test_gradient_equals_differences_in_every_element(sparse_mode):
    rng = np.random.default_rng(sparse_mode)
    sizes = {"n2": 2, "group": 2, "d1": 3, "d2": 4, "select_block_size": 2, "select_block_count": 3}
    case = make_select_case(rng, np.float32, [3, 0, 2], [5, 2, 3], sparse_mode=sparse_mode, **sizes)
    case.atten_mask = rng.random((3, 5)) < 0.2
    assert any(gradient.any() for gradient in case.gradients)
    for name, gradient in zip(("query", "key", "value"), case.gradients):
        start, step = getattr(case, name).astype(np.float64), 1e-5
        for where in np.ndindex(start.shape):
            shift = np.zeros_like(start)
            shift[where] = step
            ahead, behind = (objective(case, **{name: start + s * shift}) for s in (1, -1))
            assert (ahead - behind) / (2 * step) == pytest.approx(gradient[where], rel=1e-6, abs=1e-8)


def paged_row_by_row(case):
    """Inference with one list of rows for each token and head, an occurrence each, looked up page by page."""
    out = np.zeros((len(case.query_rows), case.head_num, case.value_rows.shape[2]))
    group = case.head_num // case.key_value_head_num
    pages = case.key.reshape(*case.key.shape[:2], case.key_value_head_num, -1).astype(np.float64)
    value_pages = case.value.reshape(*case.value.shape[:2], case.key_value_head_num, -1).astype(np.float64)
    for b, (q_len, kv_len) in enumerate(zip(case.q_lens, case.actual_seq_kvlen)):
        for i in range(q_len):
            for n in range(case.head_num):
                token, head = case.query_start[b] + i, n // group
                keys, values = [], []
                for index in case.topk_rows[token, head]:
                    for j in range(index * case.select_block_size, (index + 1) * case.select_block_size):
                        hidden = index < 0 or j >= kv_len or kv_len - 1 - j < q_len - 1 - i
                        hidden = hidden or (case.sparse_mode == 2 and j > i)
                        if not hidden and (case.atten_mask is None or not case.atten_mask[i, j]):
                            page, row = (
                                case.block_table[b, j // case.page_block_size],
                                j % case.page_block_size,
                            )
                            keys.append(pages[page, row, head])
                            values.append(value_pages[page, row, head])
                if keys:
                    weights = np.exp(case.scale * np.array(keys) @ case.query_rows[token, n].astype(np.float64))
                    out[token, n] = weights / weights.sum() @ np.array(values)
    return out.reshape(case.attention_out_shape)


def small_paged_cases(count):
    """Random cases that a loop over single rows can follow."""
    cases = (random_paged_case(np.random.default_rng([3, seed]), np.float32) for seed in itertools.count())
    small = (case for case in cases if case.topk_indices.size * case.select_block_size < 6_000)
    return list(itertools.islice(small, count))


def test_paged_inference_equals_row_by_row():
    for case in small_paged_cases(40):
        np.testing.assert_allclose(case.forward, paged_row_by_row(case), **CLOSE, err_msg=str(case))


@pytest.mark.parametrize("name", [name for name in PAGED_CASES if "thousands" not in name and "small" not in name])
def test_named_paged_inference_equals_row_by_row(name):
    case = PAGED_CASES[name](DTYPES["float16"])
    np.testing.assert_allclose(case.forward, paged_row_by_row(case), **CLOSE, err_msg=str(case))


def as_training(case):
    """The sequences of a paged case, unpadded and packed, under the right-down causal rule."""
    tokens = [start + np.arange(q_len) for start, q_len in zip(case.query_start, case.q_lens)]
    rows = []
    for table, kv_len in zip(case.block_table, case.actual_seq_kvlen):
        j = np.arange(kv_len)
        rows.append(table[j // case.page_block_size] * case.page_block_size + j % case.page_block_size)
    tokens, rows = np.concatenate(tokens), np.concatenate(rows)
    out, _, _ = reference.select_attention(
        case.query_rows[tokens], case.key_rows[rows], case.value_rows[rows], case.topk_rows[tokens],
        case.scale_value, case.select_block_size, case.atten_mask,
        np.cumsum(case.q_lens), np.cumsum(case.actual_seq_kvlen), sparse_mode=3,
    )  # fmt: skip
    return tokens, out


@pytest.mark.parametrize("seed", SEEDS)
def test_paged_inference_equals_training_forward(seed):
    case = random_paged_case(np.random.default_rng([4, seed]), np.float32)
    case = replace(case, sparse_mode=seed % 2 * 3)
    tokens, out = as_training(case)
    flat = case.forward.reshape(len(case.query_rows), case.head_num, -1)
    np.testing.assert_array_equal(flat[tokens], out, err_msg=str(case))
    assert not np.delete(flat, tokens, axis=0).any()


def test_layouts_are_the_same_attention():
    tnd = PAGED_CASES["paged_multi_token_tnd"](np.float32)
    lens = (3, 3, 3)
    tnd = replace(tnd, query=np.resize(tnd.query, (9, *tnd.query.shape[1:])), actual_seq_qlen=lens)
    tnd = replace(tnd, topk_indices=np.resize(tnd.topk_indices, (9, *tnd.topk_indices.shape[1:])))
    tnd.topk_indices[:] %= 4
    tnd.topk_indices[3:6] = -1  # the middle sequence has no rows
    topk = tnd.topk_indices.reshape(3, 3, *tnd.topk_indices.shape[1:])
    bsh = replace(tnd, layout="BSH", query=tnd.query.reshape(3, 3, -1), topk_indices=topk)
    bsnd = replace(tnd, layout="BSND", query=tnd.query.reshape(3, 3, *tnd.query.shape[1:]), topk_indices=topk)
    assert np.abs(tnd.forward).sum() > 0
    for case in (bsh, bsnd, replace(bsnd, actual_seq_qlen=None)):
        np.testing.assert_array_equal(case.forward.ravel(), tnd.forward.ravel())


@pytest.mark.parametrize("draw", [random_select_case, random_paged_case])
@pytest.mark.parametrize("seed", range(20))
def test_order_of_slots_and_absent_slots_mean_nothing(draw, seed):
    rng = np.random.default_rng([5, seed])
    case = draw(rng, np.float32)
    assert_same_results(case, replace(case, topk_indices=rng.permuted(case.topk_indices, axis=-1)))
    absent = np.full((*case.topk_indices.shape[:-1], 3), -1, np.int32)
    padded = np.concatenate([absent[..., :1], case.topk_indices, absent[..., 1:]], axis=-1)
    assert_same_results(case, replace(case, topk_indices=padded))


def test_a_block_listed_twice_weighs_twice():
    case = replace(SELECT_CASES["select_two_sequences"](np.float32), select_block_size=95, scale_value=0.0)
    once, twice = np.zeros_like(case.topk_indices[..., :1]), np.zeros_like(case.topk_indices[..., :2])
    one, two = replace(case, topk_indices=once), replace(case, topk_indices=twice)
    np.testing.assert_allclose(one.forward[0], two.forward[0], **CLOSE)
    np.testing.assert_allclose(2 * one.forward[2], two.forward[2], **CLOSE)
    # Two of three occurrences are of the first half: its rows weigh two to one.
    halves = replace(case, select_block_size=31, topk_indices=np.tile(np.int32([0, 1, 0]), (*once.shape[:2], 1)))
    value = case.value[:61].astype(np.float64)
    expected = (2 * value[:31].sum(axis=0) + value[31:].sum(axis=0)) / (2 * 31 + 30)
    np.testing.assert_allclose(halves.forward[0][0, 0], expected[0], **CLOSE)


@pytest.mark.parametrize("name", ["select_empty_rows", "select_all_rows_empty", "select_mask_hides_all"])
def test_rows_that_see_nothing(name):
    case = SELECT_CASES[name](np.float32)
    empty = ~dense_multiplicity(case).any(axis=-1).repeat(case.head_num // case.key_value_head_num, axis=1)
    assert empty.any()
    for array, rest in zip((*case.forward, case.gradients[0]), (0, -np.inf, 0, 0)):
        assert (array[empty] == rest).all()
        assert np.isfinite(array[~empty]).all()


@pytest.mark.parametrize("family", ["select", "paged"])
def test_nan_reaches_only_its_readers(family):
    case = NAMED_CASES[f"{family}_nan_reaches_only_its_readers"](np.float32)
    out = results_of(case)[0]
    assert np.isnan(out).any() and not np.isnan(out).all()


@pytest.mark.parametrize("index", [4, 2**31 - 1])
def test_index_out_of_range_is_an_error(index):
    case = SELECT_CASES["select_two_sequences"](np.float32)  # the first sequence has ceil(61 / 17) blocks
    case.topk_indices[2, 1, 0] = index
    with pytest.raises(ValueError, match=f"must be below 4, got {index}"):
        reference.select_attention(**case.arguments)
