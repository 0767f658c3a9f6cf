# SPDX-License-Identifier: Apache-2.0
"""The gradient of compression on the twin: against the reference, and what the twin's rules say (they raise)."""

import numpy as np
import pytest

from ascendc import compress
from ascendc.test_compress import CORES, HALVES, make_case, random_case, rows_in_windows, squares
from ms_nsa import family_reference
from ms_nsa.family_rules import window_count
from support import compare_tensor


def grad_of(case, spare=2, seed=0):
    """For the windows, and NaN for rows that mean nothing."""
    input, _, size, stride, ends = case
    windows = sum(window_count(int(rows), size, stride) for rows in np.diff(ends, prepend=0))
    grad = np.random.default_rng(seed).standard_normal((windows + spare, *input.shape[1:])).astype(input.dtype)
    grad[windows:] = np.nan
    return grad


def visible(case):
    """The input with zeros for its rows of no window."""
    input, _, size, stride, ends = case
    input, start = input.copy(), 0
    for end in ends:
        input[start + rows_in_windows(end - start, size, stride) : end] = 0
        start = end
    return input


def check(case, spare=2, **options):
    _, weight, size, stride, ends = case
    grad, input = grad_of(case, spare), visible(case)
    *found, launched = compress.run_compress_grad(grad, *case, **options)
    expected = family_reference.nsa_compress_grad(grad, input, weight, size, stride, ends)
    wide = np.nan_to_num(grad.astype(float)) ** 2, input.astype(float) ** 2
    terms = family_reference.nsa_compress_grad(*wide, squares(weight, size, input.shape[1]), size, stride, ends)
    for gradient, right, squared in zip(found, expected, terms):
        if right is None:
            assert not gradient.view(np.uint16).any()
            continue
        smallest = 2.0**-14 if input.dtype == np.float16 else 0  # below, a float16 has fewer digits
        compared = compare_tensor(gradient, right, "grad", input.dtype, np.maximum(np.sqrt(squared), smallest))
        assert not compared.failure, compared.failure
    return launched


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(16))
def test_random(seed, dtype):
    case = random_case(seed, dtype)
    check(case, spare=seed % 3, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 150))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize(
    "n2, d, size, stride", [(128, 16, 16, 16), (9, 256, 128, 16), (1, 16, 128, 128), (5, 80, 48, 32)]
)
def test_extremes(n2, d, size, stride):
    check(make_case(np.random.default_rng(d), "bfloat16", [size + 3, 2 * size + stride], n2, d, size, stride))


def test_bits_do_not_depend_on_the_schedule():
    """Neither on the order in which cores run nor on how many there are."""
    case = make_case(np.random.default_rng(7), "float16", [1300, 70, 0, 2900], 3, 48, 32, 16)
    runs = [(20, 0), (20, 1), (1, 2), (3, 3), (24, 4)]
    grad = grad_of(case)
    found = [compress.run_compress_grad(grad, *case, aic_cores=c, seed=s, preempt=3 * (s > 0))[:2] for c, s in runs]
    assert all(a.tobytes() == b.tobytes() for each in found[1:] for a, b in zip(each, found[0]))


@pytest.mark.parametrize("ends", [(100, 2**40), (-5, 40), (100, 60, 90), (400,)])
def test_lengths_that_cannot_be_right_contribute_nothing(ends):
    """Nothing is read or written beyond the tensors; rows of windows that grad has no row for get zeros."""
    input, weight = np.ones((150, 2, 16), np.float16), np.ones((32, 2), np.float16)
    cut = np.maximum.accumulate(np.clip(ends, 0, 150)).tolist()
    enough = np.ones((9, 2, 16), np.float16)
    expected = family_reference.nsa_compress_grad(enough, input[: cut[-1]], weight, 32, 16, cut)
    found = compress.run_compress_grad(enough, input, weight, 32, 16, ends)
    np.testing.assert_array_equal(found[0][: cut[-1]], expected[0])
    assert not found[0][cut[-1] :].any() and np.array_equal(found[1], expected[1])
    few = compress.run_compress_grad(enough[:2], input, weight, 32, 16, ends)
    assert 0 < few[0].sum() <= found[0].sum()


@pytest.mark.parametrize("n2, d, size, bar", [(4, 192, 32, 1.1), (4, 128, 32, 1.15), (1, 128, 32, 1.3)])
def test_is_a_copy(n2, d, size, bar):
    """Modelled: little more than what memory takes to move the bytes, of which each is moved about once."""
    case = make_case(np.random.default_rng(n2), "bfloat16", [65536 // n2], n2, d, size, 16)
    grad = grad_of(case, spare=0)
    input_grad, _, launched = compress.run_compress_grad(grad, *case, aic_cores=24, checks=False)
    needed = case[0].nbytes + input_grad.nbytes + grad.nbytes
    moved = sum(launched.timing["bytes"][path] for path in ("GM->UB", "UB->GM"))
    assert moved <= 1.15 * needed
    assert launched.timing["modelled_cycles"] <= bar * moved / compress.BYTES_A_CYCLE
