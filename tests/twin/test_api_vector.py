# SPDX-License-Identifier: Apache-2.0
"""Element-wise vector API: every form against a NumPy statement of the whole UB image."""

import numpy as np
import pytest

from twin import images
from twin.images import BFLOAT16, BITS, COUNT, COUNTER, PREFIX, PRESET, Case

IMAGE = 12288
ENTRIES = {
    np.dtype(np.float32): "api_float",
    np.dtype(np.float16): "api_half",
    np.dtype(np.int32): "api_int32",
    np.dtype(np.int16): "api_int16",
    BFLOAT16: "api_bfloat16",
}
FLOATS = [np.dtype(np.float32), np.dtype(np.float16)]
INTEGERS = [np.dtype(np.int32), np.dtype(np.int16)]


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_vector")


def half_up(values, dtype):
    """Sixteen-bit floats are computed in float32 and rounded once."""
    return np.asarray(values).astype(dtype)


def wide(values):
    return values.astype(np.float32) if values.dtype.kind not in "iu" else values


BINARY = {0: np.add, 1: np.subtract, 2: np.multiply, 3: np.maximum, 4: np.minimum, 5: np.divide}
SCALAR = {
    20: np.add,
    21: np.multiply,
    22: np.maximum,
    23: np.minimum,
    24: lambda a, s: np.where(a > 0, a, a * s),
}
# Approximations on the device; the twin rounds correctly, so the tolerance here is the float32 libm's.
UNARY = {
    40: np.exp,
    41: np.log,
    42: np.abs,
    43: np.reciprocal,
    44: np.sqrt,
    45: lambda a: 1 / np.sqrt(a),
    46: lambda a: np.maximum(a, 0),
}


def random_case(rng, op, dtype, forms=(COUNT, PREFIX, BITS, COUNTER, PRESET)):
    """dst, src0 and src1 in disjoint thirds of the image, or dst on src0; sources may repeat a block."""
    width = 256 // dtype.itemsize
    form = int(rng.choice(forms))
    dense = int(rng.integers(1, 3))
    block = (dense, *map(int, rng.integers(0, 4, 2)))
    step = (8 * dense + int(rng.integers(0, 4)), *map(int, rng.integers(0, 20, 2)))
    dst, src0, src1 = (4096 * i + 32 * int(rng.integers(0, 20)) for i in range(3))
    if rng.random() < 0.2:
        src0, block, step = dst, (block[0], block[0], block[2]), (step[0], step[0], step[2])
    repeat = int(rng.integers(1, 5))
    n = int(rng.integers(1, width + 1)) if form == PREFIX else int(rng.integers(1, 4 * width + 1))
    return Case(op, form, dst, src0, src1, n, images.bits_of(rng, width), repeat, block, step)


def check(api, dtype, cases, data, state, tolerance=0.0):
    got = images.run(api, ENTRIES[dtype], data, cases)
    for case, before, after in zip(cases, data, got):
        expected = before.view(dtype).copy()
        dst = case.elements(0, dtype)
        values = state(case, expected)
        if not tolerance:
            expected[dst] = values
            images.assert_same(after, expected.view(np.uint8), case)
            continue
        result = after.view(dtype)
        np.testing.assert_allclose(wide(result[dst]), wide(values), rtol=tolerance, err_msg=str(case))
        expected[dst] = result[dst]
        images.assert_same(after, expected.view(np.uint8), case)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_binary(api, dtype):
    rng = np.random.default_rng(dtype.num)
    ops = {op: images.share(4) for op in BINARY if op != 5}
    if dtype in FLOATS:
        ops[5] = images.share(2)
    cases = [random_case(rng, op, dtype) for op, count in ops.items() for _ in range(count)]
    data = images.random_images(rng, len(cases), IMAGE, dtype)

    def state(case, image):
        a, b = (wide(image[case.elements(i, dtype)]) for i in (1, 2))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return half_up(BINARY[case.op](a, b), dtype)

    check(api, dtype, cases, data, state)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_scalar(api, dtype):
    rng = np.random.default_rng(dtype.num + 50)
    ops = {op: images.share(4) for op in SCALAR if op != 24}
    if dtype in FLOATS:
        ops[24] = images.share(2)
    cases = [random_case(rng, op, dtype) for op, count in ops.items() for _ in range(count)]
    for case in cases:
        case.p = (int(rng.integers(-9, 10)), 0, 0, 0, 0, 0)
    data = images.random_images(rng, len(cases), IMAGE, dtype)

    def state(case, image):
        a = wide(image[case.elements(1, dtype)])
        return half_up(SCALAR[case.op](a, a.dtype.type(case.p[0])), dtype)

    check(api, dtype, cases, data, state)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_unary(api, dtype):
    rng = np.random.default_rng(dtype.num + 100)
    cases = [random_case(rng, op, dtype) for op in UNARY for _ in range(images.share(2))]
    data = images.random_images(rng, len(cases), IMAGE, dtype)
    for case, image in zip(cases, data):
        if case.op in (41, 43, 44, 45):
            image.view(dtype)[:] = np.abs(image.view(dtype)) + dtype.type(0.25)

    def state(case, image):
        with np.errstate(over="ignore"):
            return half_up(UNARY[case.op](image[case.elements(1, dtype)].astype(np.float64)), dtype)

    check(api, dtype, cases, data, state, tolerance=2.0**-10 if dtype.itemsize == 2 else 2.0**-22)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_multiply_add(api, dtype):
    """Small integers: exact however the product is rounded, which is not published."""
    rng = np.random.default_rng(dtype.num + 150)
    cases = [random_case(rng, op, dtype, (COUNT, PREFIX)) for op in (8, 25) for _ in range(images.share(2))]
    for case in cases:
        case.p = (int(rng.integers(-9, 10)), 0, 0, 0, 0, 0)
    shape = (len(cases), IMAGE // dtype.itemsize)
    data = rng.integers(-20, 20, shape).astype(dtype).view(np.uint8).reshape(len(cases), IMAGE)

    def state(case, image):
        other = image[case.elements(2, dtype)] if case.op == 8 else dtype.type(case.p[0])
        return image[case.elements(1, dtype)] * other + image[case.elements(0, dtype)]

    check(api, dtype, cases, data, state)


def test_bitwise(api):
    dtype = np.dtype(np.int16)
    rng = np.random.default_rng(4)
    cases = [random_case(rng, op, dtype) for op in (6, 7, 47) for _ in range(images.LEAST)]
    data = rng.integers(0, 256, (len(cases), IMAGE), np.uint8)

    def state(case, image):
        a, b = (image[case.elements(i, dtype)] for i in (1, 2))
        return {6: a & b, 7: a | b, 47: ~a}[case.op]

    check(api, dtype, cases, data, state)


@pytest.mark.parametrize("dtype", list(ENTRIES), ids=str)
def test_moving(api, dtype):
    """Duplicate and Copy of every type in every mask form."""
    rng = np.random.default_rng(dtype.num % 100 + 200)
    count = images.share(len(ENTRIES))
    cases = [random_case(rng, 60, dtype, (COUNT, PREFIX, BITS)) for _ in range(count)]
    cases += [random_case(rng, 61, dtype, (PREFIX, BITS)) for _ in range(count)]
    for case in cases:
        case.p = (int(rng.integers(-9, 10)), 0, 0, 0, 0, 0)
    data = images.random_images(rng, len(cases), IMAGE, dtype)

    def state(case, image):
        return dtype.type(case.p[0]) if case.op == 60 else image[case.elements(1, dtype)]

    check(api, dtype, cases, data, state)


@pytest.mark.parametrize("dtype", list(ENTRIES), ids=str)
def test_brcb(api, dtype):
    rng = np.random.default_rng(dtype.num % 100 + 250)
    per_block = 32 // dtype.itemsize
    cases = []
    for _ in range(images.share(len(ENTRIES))):
        block = int(rng.integers(1, 4))
        step = 8 * block + int(rng.integers(0, 5))
        offsets = 32 * rng.integers(0, 20, 2)
        repeat = int(rng.integers(1, 6))
        cases.append(
            Case(
                62,
                dst=int(offsets[0]),
                src0=8192 + int(offsets[1]),
                repeat=repeat,
                block=(block, 1, 1),
                step=(step, 8, 8),
            )
        )
    data = images.random_images(rng, len(cases), IMAGE, dtype)
    got = images.run(api, ENTRIES[dtype], data, cases)
    for case, before, after in zip(cases, data, got):
        expected = before.view(dtype).copy()
        for i in range(8 * case.repeat):
            begin = case.dst // dtype.itemsize + (i // 8 * case.step[0] + i % 8 * case.block[0]) * per_block
            expected[begin : begin + per_block] = expected[case.src0 // dtype.itemsize + i]
        images.assert_same(after, expected.view(np.uint8), case)
