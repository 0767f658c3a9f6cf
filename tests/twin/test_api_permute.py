# SPDX-License-Identifier: Apache-2.0
"""Compare, Select, Gather, Transpose, TransDataTo5HD against NumPy statements of the whole UB image."""

import numpy as np
import pytest

from twin import images
from twin.images import BITS, COUNT, PREFIX, Case

IMAGE = 16384
ENTRIES = {
    np.dtype(np.float32): "permute_float",
    np.dtype(np.float16): "permute_half",
    np.dtype(np.int32): "permute_int32",
    np.dtype(np.int16): "permute_int16",
    images.BFLOAT16: "permute_bfloat16",
}
FLOATS = list(ENTRIES)[:2]
COMPARE, COMPARES, SELECT, GATHER, TRANSPOSE, TO_5HD = range(6)
HOLDS = [np.less, np.greater, np.equal, np.less_equal, np.greater_equal, np.not_equal]


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_permute")


def random_case(rng, op, dtype, p):
    width = 256 // dtype.itemsize
    form = int(rng.choice([COUNT, PREFIX, BITS]))
    block = (1, *map(int, rng.integers(0, 4, 2)))
    step = (8, *map(int, rng.integers(0, 20, 2)))
    offsets = [4096 * i + 32 * int(rng.integers(0, 40)) for i in range(3)]
    n = width * int(rng.integers(1, 5)) if form == COUNT else int(rng.integers(1, width + 1))
    bits = images.bits_of(rng, width)
    return Case(op, form, *offsets, n, bits, int(rng.integers(1, 5)), block, step, p)


def small_integers(rng, count, dtype):
    """Few distinct values, so that equality happens."""
    return rng.integers(-3, 4, (count, IMAGE // dtype.itemsize)).astype(dtype).view(np.uint8).reshape(count, IMAGE)


@pytest.mark.parametrize("dtype", list(ENTRIES)[:3], ids=str)
def test_compare(api, dtype):
    """One bit a lane, 256 bytes of operands a repeat; lanes outside the mask give 0."""
    rng = np.random.default_rng(dtype.num)
    modes = range(6) if dtype in FLOATS else [2]
    count = images.share(2 * 6 + 1)
    cases = []
    for mode in modes:
        for op in (COMPARE, COMPARES):
            p = [(mode, int(rng.integers(-3, 4)), 0, 0, 0, 0) for _ in range(count)]
            cases += [random_case(rng, op, dtype, each) for each in p]
    data = small_integers(rng, len(cases), dtype)
    got = images.run(api, ENTRIES[dtype], data, cases)
    width = 256 // dtype.itemsize
    for case, before, after in zip(cases, data, got):
        a = before.view(dtype)[case.elements(1, dtype)]
        b = before.view(dtype)[case.elements(2, dtype)] if case.op == COMPARE else dtype.type(case.p[1])
        repeat, lane = case.lanes(width)
        bits = np.zeros((int(repeat.max()) + 1) * width, np.uint8)
        bits[repeat * width + lane] = HOLDS[case.p[0]](a, b)
        packed = np.packbits(bits, bitorder="little")
        expected = before.copy()
        expected[case.dst : case.dst + packed.size] = packed
        images.assert_same(after, expected, case)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_select(api, dtype):
    """Mode 0 uses the first repeat's bits for all, modes 1 and 2 consume one bit a lane."""
    rng = np.random.default_rng(dtype.num + 1)
    cases = []
    for mode in (0, 1, 2):
        for _ in range(images.share(3 * len(FLOATS))):
            select = 3 * 4096 + 32 * int(rng.integers(0, 40))
            cases.append(random_case(rng, SELECT, dtype, (mode, int(rng.integers(-9, 9)), select, 0, 0, 0)))
    data = images.random_images(rng, len(cases), IMAGE, dtype)
    got = images.run(api, ENTRIES[dtype], data, cases)
    width = 256 // dtype.itemsize
    for case, before, after in zip(cases, data, got):
        mode, scalar, select = case.p[:3]
        bits = np.unpackbits(before[select:], bitorder="little")
        repeat, lane = case.lanes(width)
        chosen = bits[lane if mode == 0 else repeat * width + lane]
        a = before.view(dtype)[case.elements(1, dtype)]
        b = dtype.type(scalar) if mode == 1 else before.view(dtype)[case.elements(2, dtype)]
        expected = before.view(dtype).copy()
        expected[case.elements(0, dtype)] = np.where(chosen, a, b)
        images.assert_same(after, expected.view(np.uint8), case)


@pytest.mark.parametrize("dtype", list(ENTRIES), ids=str)
def test_gather(api, dtype):
    rng = np.random.default_rng(dtype.num % 100 + 2)
    size = dtype.itemsize
    cases = []
    for _ in range(images.share(len(ENTRIES))):
        offsets = [4096 * i + 32 * int(rng.integers(0, 40)) for i in range(3)]
        base = size * int(rng.integers(0, 20))
        cases.append(Case(GATHER, COUNT, *offsets, int(rng.integers(1, 500)), p=(base, 0, 0, 0, 0, 0)))
    data = images.random_images(rng, len(cases), IMAGE, dtype)
    table = rng.integers(0, 2000 // size, (len(cases), 512)) * size
    for case, image, row in zip(cases, data, table):
        image[case.src1 : case.src1 + 2048] = row.astype(np.uint32).view(np.uint8)
    got = images.run(api, ENTRIES[dtype], data, cases)
    for case, before, after, row in zip(cases, data, got, table):
        expected = before.view(dtype).copy()
        to = case.dst // size
        expected[to : to + case.n] = expected[(case.src0 + case.p[0] + row[: case.n]) // size]
        images.assert_same(after, expected.view(np.uint8), case)


@pytest.mark.parametrize("dtype", [np.dtype(np.int16), np.dtype(np.float16)], ids=str)
def test_transpose(api, dtype):
    rng = np.random.default_rng(dtype.num + 3)
    cases = [
        Case(TRANSPOSE, dst=32 * int(rng.integers(0, 200)), src0=8192 + 32 * int(rng.integers(0, 200)))
        for _ in range(images.share(2))
    ]
    data = rng.integers(0, 256, (len(cases), IMAGE), np.uint8)
    got = images.run(api, ENTRIES[dtype], data, cases)
    for case, before, after in zip(cases, data, got):
        expected = before.copy()
        square = before[case.src0 : case.src0 + 512].view(np.int16).reshape(16, 16)
        expected[case.dst : case.dst + 512] = np.ascontiguousarray(square.T).view(np.uint8).ravel()
        images.assert_same(after, expected, case)


@pytest.mark.parametrize("dtype", list(ENTRIES)[:4], ids=str)
def test_to_5hd(api, dtype):
    """Row i of a repeat is block srcList[i]; column c goes to blocks c (16 bits) or 2c, 2c+1 (32 bits)."""
    rng = np.random.default_rng(dtype.num % 100 + 4)
    columns = 32 // dtype.itemsize
    cases = []
    for i in range(images.share(4)):
        repeat = 1 if i % 3 == 0 else int(rng.integers(2, 5))
        gap = [int(v) for v in rng.integers(4, 8, 2)]
        # With gaps of at least `repeat` blocks the repeats fall between the rows.
        step = (
            tuple(int(v) for v in rng.integers(1, 2, 2)) if repeat > 1 else tuple(int(v) for v in rng.integers(0, 3, 2))
        )
        offsets = [8192 * j + 32 * int(rng.integers(0, 100)) for j in (0, 1)]
        cases.append(Case(TO_5HD, PREFIX, *offsets, repeat=repeat, step=(*step, 0), p=(*gap, 0, 0, 0, 0)))
    data = rng.integers(0, 256, (len(cases), IMAGE), np.uint8)
    got = images.run(api, ENTRIES[dtype], data, cases)
    for case, before, after in zip(cases, data, got):
        expected = before.copy()
        for r in range(case.repeat):
            # A single repeat starts one stride behind the lists.
            dst_shift, src_shift = (s * 32 * (r + (case.repeat == 1)) for s in case.step[:2])
            rows = np.stack([before[case.src0 + src_shift + i * case.p[1] * 32 :][:32].view(dtype) for i in range(16)])
            blocks = np.ascontiguousarray(rows.T).reshape(16, columns)
            for i in range(16):
                begin = case.dst + dst_shift + i * case.p[0] * 32
                expected[begin : begin + 32] = blocks[i].view(np.uint8)
        images.assert_same(after, expected, case)
