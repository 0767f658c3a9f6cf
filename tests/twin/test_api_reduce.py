# SPDX-License-Identifier: Apache-2.0
"""Reductions against NumPy. Sums use small integers, exact in any order: the device's order is not published."""

import numpy as np
import pytest

from twin import images
from twin.images import BITS, COUNT, PREFIX, Case

IMAGE = 12288
FLOATS = [np.dtype(np.float32), np.dtype(np.float16)]
MAX, MIN, SUM = range(3)
PICK = {MAX: np.argmax, MIN: np.argmin}


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_reduce")


def entry(dtype):
    return "reduce_float" if dtype == np.float32 else "reduce_half"


def integer_images(rng, count, dtype):
    values = rng.integers(-30, 30, (count, IMAGE // dtype.itemsize))
    return values.astype(dtype).view(np.uint8).reshape(count, IMAGE)


def groups_of(case, dtype, group):
    """{(repeat, group): (lanes, element numbers)} for the groups with an active lane."""
    width = 256 // dtype.itemsize
    repeat, lane = case.lanes(width)
    at = case.elements(1, dtype)
    keys = {}
    for r, i, element in zip(repeat, lane, at):
        keys.setdefault((r, i // group), []).append((i, element))
    return {k: tuple(map(np.array, zip(*v))) for k, v in keys.items()}


def random_case(rng, op, dtype, step, form=None, least=1):
    width = 256 // dtype.itemsize
    form = int(rng.choice([PREFIX, BITS])) if form is None else form
    n = int(rng.integers(least, width + 1))
    dst, src = 32 * int(rng.integers(0, 20)), 6144 + 32 * int(rng.integers(0, 20))
    block = (1, int(rng.integers(0, 4)), 1)
    return Case(op, form, dst, src, 0, n, images.bits_of(rng, width), int(rng.integers(1, 7)), block, step)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_over_repeats(api, dtype):
    """WholeReduceMax, Min in all orders and Sum."""
    rng = np.random.default_rng(dtype.itemsize)
    cases = []
    for op, order in [(MAX, o) for o in range(4)] + [(MIN, o) for o in range(4)] + [(SUM, 2)] * 4:
        for _ in range(images.share(4 * len(FLOATS))):
            case = random_case(rng, op, dtype, (int(rng.integers(1, 12)), int(rng.integers(0, 20)), 8))
            case.p = (order, 0, 0, 0, 0, 0)
            cases.append(case)
    data = integer_images(rng, len(cases), dtype)
    got = images.run(api, entry(dtype), data, cases)
    index_type = np.dtype(f"u{dtype.itemsize}")
    for case, before, after in zip(cases, data, got):
        expected = before.copy()
        order = case.p[0]
        unit = 4 if order == 3 else dtype.itemsize * (2 if order < 2 else 1)
        for (r, _), (lanes, at) in groups_of(case, dtype, 256).items():
            values = before.view(dtype)[at]
            if case.op == SUM:
                cell = values.sum(dtype=np.float64).astype(dtype).tobytes()
            else:
                best = PICK[case.op](values)
                value, index = values[best].tobytes(), index_type.type(lanes[best]).tobytes()
                cell = [value + index, index + value, value, np.uint32(lanes[best]).tobytes()][order]
            begin = case.dst + int(r) * case.step[0] * unit
            expected[begin : begin + len(cell)] = np.frombuffer(cell, np.uint8)
        images.assert_same(after, expected, case)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_over_blocks_and_pairs(api, dtype):
    """BlockReduceMax, Min, Sum (8 results a repeat) and PairReduceSum; every group has an active lane."""
    rng = np.random.default_rng(dtype.itemsize + 10)
    width, per_block = 256 // dtype.itemsize, 32 // dtype.itemsize
    cases = []
    for op in (3, 4, 5, 6):
        for _ in range(images.share(len(FLOATS))):
            step = (int(rng.integers(1, 4)), int(rng.integers(0, 20)), 8)
            least = width if op == 6 else width - per_block + 1
            case = random_case(rng, op, dtype, step, least=least)
            case.bits = tuple(b | 0x5555555555555555 for b in case.bits)
            cases.append(case)
    data = integer_images(rng, len(cases), dtype)
    got = images.run(api, entry(dtype), data, cases)
    combine = {3: np.max, 4: np.min, 5: np.sum, 6: np.sum}
    for case, before, after in zip(cases, data, got):
        group = 2 if case.op == 6 else per_block
        expected = before.view(dtype).copy()
        for (r, g), (_, at) in groups_of(case, dtype, group).items():
            to = case.dst // dtype.itemsize + int(r) * case.step[0] * (width // group) + int(g)
            expected[to] = combine[case.op](before.view(dtype)[at])
        images.assert_same(after, expected.view(np.uint8), case)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_over_vectors(api, dtype):
    """ReduceMax, Min with and without index, ReduceSum; the temporary buffer holds anything afterwards."""
    rng = np.random.default_rng(dtype.itemsize + 20)
    cases = []
    for op, index in ((7, 0), (7, 1), (8, 0), (8, 1), (9, 0), (9, 0)):
        for _ in range(images.share(2 * len(FLOATS))):
            n = int(rng.integers(1, 4000 // dtype.itemsize))
            src = 6144 + 32 * int(rng.integers(0, 20))
            cases.append(Case(op, COUNT, 32 * int(rng.integers(0, 20)), src, 2048, n, p=(index, 0, 0, 0, 0, 0)))
    data = integer_images(rng, len(cases), dtype)
    # The dump of the temporary buffer reads bytes that the call leaves undefined: fast mode does not mind.
    got = images.run(api, entry(dtype), data, cases, checks=False)
    index_type = np.dtype(f"u{dtype.itemsize}")
    for case, before, after in zip(cases, data, got):
        values = before.view(dtype)[case.src0 // dtype.itemsize :][: case.n]
        expected = before.copy()
        if case.op == 9:
            cell = values.sum(dtype=np.float64).astype(dtype).tobytes()
        else:
            best = PICK[case.op - 7](values)
            cell = values[best].tobytes() + (index_type.type(best).tobytes() if case.p[0] else b"")
        expected[case.dst : case.dst + len(cell)] = np.frombuffer(cell, np.uint8)
        expected[2048:4096] = after[2048:4096]
        images.assert_same(after, expected, case)
