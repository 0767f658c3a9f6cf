# SPDX-License-Identifier: Apache-2.0
"""Compression on the twin: against the reference, and what the twin's rules say (they raise)."""

import numpy as np
import pytest

from ascendc import compress
from ms_nsa import family_reference
from support import DTYPES, compare_tensor

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")


def random_case(seed, dtype):
    """input, weight, compress_block_size, compress_stride, prefix sums; rows of no window are NaN."""
    rng = np.random.default_rng([31, seed])
    stride = 16 * int(rng.integers(1, 5))
    size = min(128, stride + 16 * int(rng.integers(0, 5)))
    n2, d = int(rng.choice([1, 2, 3, 4, 8, 9, 12])), 16 * int(rng.integers(1, 17))
    lens = rng.integers(0, 3 * size, int(rng.integers(1, 5))) * rng.choice([0, 1, 1, 1])
    lens[rng.integers(len(lens))] = size + stride * int(rng.integers(0, 5)) + int(rng.integers(0, 20))
    return make_case(rng, dtype, lens, n2, d, size, stride, weighted=seed % 4 > 0)


def make_case(rng, dtype, lens, n2, d, size, stride, weighted=True):
    ends = np.cumsum(lens)
    input = rng.standard_normal((ends[-1], n2, d)).astype(DTYPES[dtype])
    weight = rng.standard_normal((size, n2)).astype(DTYPES[dtype]) if weighted else None
    for rows, end in zip(lens, ends):
        input[end - rows + rows_in_windows(rows, size, stride) : end] = np.nan
    return input, weight, size, stride, ends.tolist()


def rows_in_windows(rows, size, stride):
    return 0 if rows < size else (rows - size) // stride * stride + size


def squares(weight, size, n2):
    return np.full((size, n2), size**-2.0) if weight is None else weight.astype(float) ** 2


def check(case, spare=2, **options):
    input, weight, size, stride, ends = case
    expected = family_reference.nsa_compress(*case)
    terms = family_reference.nsa_compress(
        np.square(input.astype(float)), squares(weight, size, input.shape[1]), size, stride, ends
    )
    out, launched = compress.run_compress(*case, windows=len(expected) + spare, **options)
    found = compare_tensor(out[: len(expected)], expected, "out", input.dtype, np.sqrt(terms))
    assert not found.failure, found.failure
    assert not out[len(expected) :].view(np.uint16).any()
    return launched


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(16))
def test_random(seed, dtype):
    check(random_case(seed, dtype), spare=seed % 3, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 150))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize(
    "n2, d, size, stride", [(128, 16, 16, 16), (9, 256, 128, 16), (1, 16, 128, 128), (8, 208, 48, 32)]
)
def test_extremes(n2, d, size, stride):
    check(make_case(np.random.default_rng(d), "bfloat16", [size + 3, 2 * size + stride], n2, d, size, stride))


def test_bits_do_not_depend_on_the_schedule():
    """Neither the order in which cores run, nor how many there are, nor what comes before a sequence."""
    case = make_case(np.random.default_rng(7), "float16", [300, 70, 0, 500], 3, 48, 64, 16)
    runs = [(20, 0), (20, 1), (1, 2), (3, 3), (24, 4)]
    first, *others = [compress.run_compress(*case, aic_cores=c, seed=s, preempt=3 * (s > 0))[0] for c, s in runs]
    assert all(first.tobytes() == other.tobytes() for other in others)
    input, *rest, _ = case
    alone = compress.run_compress(input[370:], *rest, [500], windows=28)[0]
    before = sum((rows - 64) // 16 + 1 for rows in (300, 70))
    assert alone.tobytes() == first[before : before + 28].tobytes()


def test_one_sequence_needs_no_lengths():
    input, weight, size, stride, _ = case = make_case(np.random.default_rng(3), "bfloat16", [200], 2, 32, 32, 16)
    found = compress.run_compress(input, weight, size, stride)[0]
    assert len(found) == 12 and found[:11].tobytes() == compress.run_compress(*case, windows=11)[0].tobytes()


@pytest.mark.parametrize("ends", [(100, 2**40), (-5, 40), (100, 60, 90), (400,)])
def test_lengths_that_cannot_be_right_contribute_nothing(ends):
    """Nothing is read or written beyond the tensors; windows that output has no rows for are dropped."""
    input = np.ones((150, 2, 16), np.float16)
    cut = np.maximum.accumulate(np.clip(ends, 0, 150))
    expected = family_reference.nsa_compress(input[: cut[-1]], None, 32, 16, cut.tolist())
    for windows in (3, 9):
        out = compress.run_compress(input, None, 32, 16, ends, windows=windows)[0]
        assert out.any(axis=(1, 2)).sum() == min(windows, len(expected))


@pytest.mark.parametrize(
    "n2, d, size, stride, sentence",
    [
        (4, 24, 32, 16, "D must be a multiple of 16, got 24"),
        (129, 16, 32, 16, "N2 must be at most 128, got 129"),
        (4, 16, 144, 16, "compress_block_size must be at most 128, got 144"),
        (4, 16, 32, 8, "compress_stride must be a multiple of 16, got 8"),
    ],
)
def test_limits_are_told(capfd, n2, d, size, stride, sentence):
    with pytest.raises(ValueError, match="refused"):
        compress.run_compress(np.ones((150, n2, d), np.float16), None, size, stride)
    assert capfd.readouterr().err == f"MsNsaCompress: {sentence}\n"


@pytest.mark.parametrize("n2, d, size, bar", [(4, 192, 32, 1.05), (1, 128, 32, 1.3), (8, 128, 64, 1.1)])
def test_is_a_copy(n2, d, size, bar):
    """Modelled: little more than what memory takes to move the bytes, of which each is moved about once."""
    case = make_case(np.random.default_rng(n2), "bfloat16", [8192], n2, d, size, 16)
    out, launched = compress.run_compress(*case, aic_cores=24, checks=False)
    moved, needed = (sum(launched.timing["bytes"][path] for path in ("GM->UB", "UB->GM")), case[0].nbytes + out.nbytes)
    assert moved <= 1.3 * needed  # 170 rows a core: a longer tensor's cores share fewer of theirs
    assert launched.timing["modelled_cycles"] <= bar * moved / compress.BYTES_A_CYCLE
