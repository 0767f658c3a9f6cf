# SPDX-License-Identifier: Apache-2.0
"""DataCopy and DataCopyPad between GM and UB and inside UB: both whole images after each call, atomics included."""

import numpy as np
import pytest

from twin import images, twin
from twin.images import BFLOAT16, Case

IMAGE = 8192
TYPES = {
    "float": np.dtype(np.float32),
    "half": np.dtype(np.float16),
    "bfloat16_t": BFLOAT16,
    "int32_t": np.dtype(np.int32),
    "int16_t": np.dtype(np.int16),
    "int8_t": np.dtype(np.int8),
    "int64_t": np.dtype(np.int64),
}
LOAD, LOAD_COUNT, LOAD_PAD, LOAD_PAD_OLD, STORE, STORE_COUNT, STORE_PAD, STORE_PAD_OLD, INSIDE, INSIDE_COUNT = range(10)
PADDED = (LOAD_PAD, LOAD_PAD_OLD, STORE_PAD, STORE_PAD_OLD)


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_dma")


def up32(n):
    return -(-n // 32) * 32


def bursts(case, dtype):
    """[(source, destination, bytes)] relative to the operands, and the padding in bytes."""
    size = dtype.itemsize
    if case.op in (LOAD_COUNT, STORE_COUNT, INSIDE_COUNT):
        return [(0, 0, case.n * size)], 0, 0
    count, length, src_gap, dst_gap, left, right = case.p
    if case.op not in PADDED:
        length, steps = 32 * length, (32 * (length + src_gap), 32 * (length + dst_gap))
        return [(i * steps[0], i * steps[1], length) for i in range(count)], 0, 0
    left, right = left * size, right * size
    if case.op in (LOAD_PAD, LOAD_PAD_OLD):
        steps = length + src_gap, up32(left + length + right) + 32 * dst_gap
    else:
        steps = up32(length) + 32 * src_gap, length + dst_gap
    return [(i * steps[0], i * steps[1], length) for i in range(count)], left, right


def state(case, dtype, ub, gm):
    """The two images after the call, and which bytes of UB it leaves undefined."""
    ub, gm, undefined = ub.copy(), gm.copy(), np.zeros(IMAGE, bool)
    pieces, left, right = bursts(case, dtype)
    for src, dst, length in pieces:
        if case.op in (INSIDE, INSIDE_COUNT):
            ub[case.dst + dst :][:length] = ub[case.src0 + src :][:length]
        elif case.op >= STORE:
            here, there = ub[case.src0 + src :][:length], gm[case.src1 + dst :][:length]
            there[:] = (here.view(dtype) + there.view(dtype)).view(np.uint8) if case.form else here
        else:
            row = ub[case.dst + dst :][: up32(left + length + right)]
            row[left : left + length] = gm[case.src1 + src :][:length]
            filler = np.ones(row.size, bool)
            filler[left : left + length] = False
            pad = dtype.type(np.int8(case.bits[1])) if case.op == LOAD_PAD else np.array([case.bits[1]]).view(dtype)[0]
            if case.bits[0]:
                row[filler] = np.full(row.size // dtype.itemsize, pad, dtype).view(np.uint8)[filler]
            if not case.bits[0] or left + right == 0:
                undefined[case.dst + dst :][: row.size] |= filler
    return ub, gm, undefined


def random_case(rng, op, dtype):
    size = dtype.itemsize
    ub = [32 * int(rng.integers(0, 8)), 4096 + 32 * int(rng.integers(0, 8))]
    gm = size * int(rng.integers(0, 40))
    n = 32 // size * int(rng.integers(1, 60))
    p = [int(rng.integers(1, 6)), int(rng.integers(1, 11)), *map(int, rng.integers(0, 7, 2)), 0, 0]
    pad = 0
    if op in PADDED:
        p[1] = size * int(rng.integers(1, 400 // size))
        p[2 + (op >= STORE)] = size * int(rng.integers(0, 90 // size))
    if op in (LOAD_PAD, LOAD_PAD_OLD):
        p[4:] = map(int, rng.integers(0, 32 // size + 1, 2))
        pad = int(rng.integers(1, 100)) if size < 8 else 0
    return Case(op, 0, ub[0], ub[1], gm, n, (int(rng.integers(0, 2)), pad), p=tuple(p))


def run(api, name, cases, data, checks):
    table = images.table_of(cases)
    gm = twin.Argument(data[1], "inout")
    arguments = [data[0], twin.output(data[0].shape, np.uint8), gm, table]
    return api.launch(f"dma_{name}", arguments, timing=False, checks=checks).outputs


def check(api, name, cases, rng, checks):
    dtype = TYPES[name]
    data = np.stack([images.random_images(rng, len(cases), IMAGE, dtype) for _ in range(2)])
    if dtype == np.int8:
        data = (data.view(np.int8) // 2).view(np.uint8)
    got_ub, got_gm = run(api, name, cases, data, checks)
    for case, ub, gm, after_ub, after_gm in zip(cases, *data, got_ub, got_gm):
        expected_ub, expected_gm, undefined = state(case, dtype, ub, gm)
        expected_ub[undefined] = after_ub[undefined]
        images.assert_same(after_ub, expected_ub, case)
        images.assert_same(after_gm, expected_gm, case)


@pytest.mark.parametrize("name", TYPES)
def test_blocks(api, name):
    rng = np.random.default_rng(len(name))
    ops = (LOAD, LOAD_COUNT, STORE, STORE_COUNT, INSIDE, INSIDE_COUNT)
    check(
        api,
        name,
        [random_case(rng, op, TYPES[name]) for op in ops for _ in range(images.share(len(TYPES)))],
        rng,
        checks=True,
    )


@pytest.mark.parametrize("name", TYPES)
def test_padded(api, name):
    """Fast mode: with checks the dump of filler that the device leaves undefined is an error, see below."""
    rng = np.random.default_rng(len(name) + 10)
    check(
        api,
        name,
        [random_case(rng, op, TYPES[name]) for op in PADDED for _ in range(images.share(len(TYPES)))],
        rng,
        checks=False,
    )


@pytest.mark.parametrize("name", [n for n in TYPES if n != "int64_t"])
def test_atomic_add(api, name):
    rng = np.random.default_rng(len(name) + 20)
    cases = [random_case(rng, op, TYPES[name]) for op in (STORE, STORE_COUNT, STORE_PAD) for _ in range(25)]
    for case in cases:
        case.form = 1
    check(api, name, cases, rng, checks=True)


@pytest.mark.parametrize("pad,right,defined", [(1, 2, True), (1, 0, False), (0, 2, False), (0, 0, False)])
def test_filler_is_undefined(api, pad, right, defined):
    """Reading a row's filler is an error unless isPad gave it a value."""
    case = Case(LOAD_PAD, 0, 0, 4096, 0, 0, (pad, 7), p=(1, 20, 0, 0, 0, right))
    data = np.zeros((2, 1, IMAGE), np.uint8)
    if defined:
        run(api, "half", [case], data, True)
        return
    with pytest.raises(twin.TwinError, match="uninit"):
        run(api, "half", [case], data, True)
