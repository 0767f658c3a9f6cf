# SPDX-License-Identifier: Apache-2.0
"""Compression in decode on the twin: against the reference, bit for bit what training makes of the same rows, and
what the twin's rules say (they raise)."""

import numpy as np
import pytest

from ascendc import compress
from ascendc.test_compress import CORES, HALVES, squares
from ms_nsa import paged_family_reference
from ms_nsa.family_rules import window_count
from support import DTYPES, compare_tensor


def random_case(seed, dtype):
    """Arguments of nsa_compress_infer; rows that no written window holds are NaN, their pages -1."""
    rng = np.random.default_rng([37, seed])
    stride = 16 * int(rng.integers(1, 4))
    size, page = min(128, stride + 16 * int(rng.integers(0, 4))), 16 * int(rng.integers(1, 9))
    n2, d, batch = int(rng.choice([1, 2, 3, 4, 9, 12])), 16 * int(rng.integers(1, 17)), int(rng.integers(1, 6))
    q_lens = rng.integers(0, 3 * stride, batch) if seed % 3 else None
    lens = rng.integers(0, 3 * size + 40, batch)
    lens[0] = size + stride * rng.integers(0, 3)
    steps = np.ones(batch, int) if q_lens is None else q_lens
    before, after = ([window_count(int(n), size, stride) for n in each] for each in (lens - steps, lens))
    slots = rng.integers(0, 1000, (batch, max(1, *np.subtract(after, before)) + seed % 2)).astype(np.int32)
    slots[rng.random(slots.shape) < 0.2] = -1
    slots[0, 0] = 77
    pages = int(sum(-(-lens // page))) + 3
    table = np.full((batch, max(1, -(-lens.max() // page)) + 1), -1, np.int32)
    cache = np.full((pages, page, n2, d), np.nan, np.float32)
    free = iter(rng.permutation(pages))
    for b, first in enumerate(before):
        for i in range(after[b] - first):
            if slots[b, i] >= 0:
                for row in range((first + i) * stride, (first + i) * stride + size):
                    if table[b, row // page] < 0:
                        table[b, row // page] = next(free)
                    cache[table[b, row // page], row % page] = rng.standard_normal((n2, d))
    weight = rng.standard_normal((size, n2)).astype(DTYPES[dtype]) if seed % 4 else None
    return cache.astype(DTYPES[dtype]), weight, slots, size, stride, page, table, lens, q_lens


def check(case, cache_layout="BSND", **options):
    cache, weight, slots, size, stride, page, table, lens, q_lens = case
    stored = np.ascontiguousarray(cache.swapaxes(1, 2)) if cache_layout == "BNSD" else cache
    rest = slots, size, stride, page, table, lens
    found = compress.run_compress_infer(stored, weight, *rest, q_lens, cache_layout, **options)
    reference = paged_family_reference.nsa_compress_infer
    expected = reference(stored, weight, *rest, None, q_lens, cache_layout)
    wide = np.square(cache.astype(float)), squares(weight, size, cache.shape[2])
    terms = np.sqrt(reference(*wide, *rest, None, q_lens)[0])
    rows = compare_tensor(found[0], expected[0], "out", cache.dtype, terms)
    assert not rows.failure, rows.failure
    np.testing.assert_array_equal(found[1], expected[1])
    return found


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(16))
def test_random(seed, dtype):
    options = {"aic_cores": CORES[seed % 4], "seed": seed, "preempt": 7 * (seed % 2)}
    check(random_case(seed, dtype), ("BSND", "BNSD")[seed // 4 % 2], **options)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 150))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("cache_layout", ["BSND", "BNSD"])
@pytest.mark.parametrize("n2, d, page, size", [(3, 48, 80, 64), (1, 16, 16, 128), (9, 64, 64, 64)])
def test_bits_are_those_of_training(n2, d, page, size, cache_layout):
    """Whatever the pages, and however many windows a step ends."""
    rng = np.random.default_rng(5)
    stride, rows = 32 if size == 64 else 64, 700
    input, weight = (rng.standard_normal(shape).astype(DTYPES["bfloat16"]) for shape in ((rows, n2, d), (size, n2)))
    expected = compress.run_compress(input, weight, size, stride, windows=window_count(rows, size, stride))[0]
    table = rng.permutation(-(-rows // page) + 2)[None, : -(-rows // page)].astype(np.int32)
    pages = np.full((table.max() + 1, page, n2, d), np.nan, input.dtype)
    for row in range(rows):
        pages[table[0, row // page], row % page] = input[row]
    pages = np.ascontiguousarray(pages.swapaxes(1, 2)) if cache_layout == "BNSD" else pages
    length = 0
    for step in (size, 1, 2 * stride, 5 * stride + 3, rows - 8 * stride - size - 4):
        before, after = (window_count(n, size, stride) for n in (length, length + step))
        length += step
        slots = np.arange(before, before + 20, dtype=np.int32)[None]
        arguments = pages, weight, slots, size, stride, page, table, [length], [step], cache_layout
        found, written, _ = compress.run_compress_infer(*arguments)
        assert written[0].tolist() == [*range(before, after), *[-1] * (20 - after + before)]
        assert found[0, : after - before].tobytes() == expected[before:after].tobytes()
        assert not found[0, after - before :].view(np.uint16).any()


def test_bits_do_not_depend_on_the_schedule():
    case = random_case(2, "float16")
    runs = [compress.run_compress_infer(*case, aic_cores=c, seed=c, preempt=3 * (c > 1))[0] for c in CORES]
    assert all(run.tobytes() == runs[0].tobytes() for run in runs)


def test_heads_and_widths_as_one_dimension():
    cache, *rest = random_case(5, "float16")
    flat = cache.reshape(*cache.shape[:2], -1)
    found = [compress.run_compress_infer(each, *rest)[0] for each in (cache, flat)]
    assert found[0].tobytes() == found[1].tobytes()


@pytest.mark.parametrize(
    "page, lens, q_lens", [(9, 40, 1), (-1, 40, 1), (0, 2**40, 1), (0, -3, 1), (0, 40, -2), (0, 40, 2**40)]
)
def test_what_cannot_be_right_contributes_nothing(page, lens, q_lens):
    """Pages and lengths out of range: nothing is read there, no slot is written."""
    cache, table = np.ones((2, 32, 1, 16), np.float16), np.array([[1, page]], np.int32)
    slots = np.array([[5]], np.int32)
    wrong = compress.run_compress_infer(cache, None, slots, 16, 8 + 8, 32, table, [lens], [q_lens])
    ends = min(lens, 64) >= 48 - 8 and page == 0 and q_lens > 0 and lens < 2**30
    assert wrong[1].item() in ((5, -1) if ends else (-1,))
    assert wrong[0].any() == (wrong[1].item() == 5)


def test_limits_are_told(capfd):
    slots, table = np.zeros((1, 1), np.int32), np.zeros((1, 4), np.int32)
    with pytest.raises(ValueError, match="refused"):
        compress.run_compress_infer(np.ones((2, 40, 1, 16), np.float16), None, slots, 32, 16, 40, table, [40])
    assert capfd.readouterr().err == "MsNsaCompressInfer: page_block_size must be a multiple of 16, got 40\n"
