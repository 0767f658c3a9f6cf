# SPDX-License-Identifier: Apache-2.0
"""The less common API, one call a launch: compaction, masked Gather and reductions, fills, scalar access, and a
product whose operands LoadData fetches with 3D parameters."""

import numpy as np
import pytest

from twin import faults, images, twin

ELEMENTS = 2048
NAMES = {np.dtype(np.float32): "float", np.dtype(np.float16): "half"}
types = pytest.mark.parametrize("dtype", list(NAMES), ids=str)
TILING = np.dtype([("op", "i8"), ("p", "i8", 8), ("bits", "u8", 2)])


@pytest.fixture(scope="module")
def api():
    return twin.compile_kernel(faults.KERNELS / "api_rare.cpp")


def call(api, dtype, op, x, u, p=(), bits=(0, 0)):
    """The whole result, and how many elements GatherMask kept."""
    tiling = np.zeros(1, TILING)
    tiling["op"] = op
    tiling["p"][0, : len(p)] = p
    tiling["bits"][0] = bits
    arguments = [x, u, twin.output(ELEMENTS, dtype), twin.output(16, np.int32, "count"), None, tiling]
    out, count = api.launch(f"api_rare_{NAMES[dtype]}", arguments, timing=False).outputs
    return out, count[0]


def data(rng, dtype):
    return rng.standard_normal(ELEMENTS).astype(dtype), rng.integers(0, 2**32, 1024, dtype=np.uint32)


def pattern_bits(pattern, width):
    i = np.arange(width)
    return i % 2 == pattern - 1 if pattern < 3 else i % 4 == pattern - 3 if pattern < 7 else i >= 0


def lanes(bits, width):
    return np.array([bits[i // 64] >> i % 64 & 1 for i in range(width)], bool)


@pytest.mark.parametrize("tensor", [False, True])
@types
def test_gather_mask(api, dtype, tensor):
    rng = np.random.default_rng([dtype.itemsize, tensor])
    full, per_block = 256 // dtype.itemsize, 32 // dtype.itemsize
    for _ in range(images.share(4)):
        x, u = data(rng, dtype)
        counter = bool(rng.integers(2))
        width = int(rng.integers(1, 200)) if counter else full
        repeat, step, block = int(rng.integers(1, 5)), int(rng.integers(0, 30)), int(rng.integers(1, 3))
        pattern, mask_step = int(rng.integers(1, 8)), int(rng.integers(0, 3))
        p = [width if counter else 0, repeat, step, counter, block, mask_step, pattern]
        got, kept = call(api, dtype, int(tensor), x, u, p)
        i = np.arange(width)
        expected = []
        for r in range(repeat):
            at = r * step * per_block + i // per_block * block * per_block + i % per_block
            words = u[r * mask_step * 8 :]
            bits = words[i // 32] >> (i % 32).astype(np.uint32) & 1 if tensor else pattern_bits(pattern, width)
            expected.append(x[at][bits.astype(bool)])
        expected = np.concatenate(expected)
        assert kept == len(expected)
        np.testing.assert_array_equal(got[:kept], expected)
        assert not got[kept:].any()


@pytest.mark.parametrize("bitwise", [False, True])
@types
def test_gather_mask_forms(api, dtype, bitwise):
    """Gather with a mask: repeats take their offsets from consecutive words."""
    rng = np.random.default_rng([12, dtype.itemsize, bitwise])
    size, width = dtype.itemsize, 256 // dtype.itemsize
    for _ in range(images.share(4)):
        x, u = data(rng, dtype)
        u[:] = rng.integers(0, 2000, 1024) * size
        mask, repeat, step = int(rng.integers(1, width + 1)), int(rng.integers(1, 5)), int(rng.integers(8, 12))
        bits = images.bits_of(rng, width)
        base = int(rng.integers(0, 40)) * size
        got, _ = call(api, dtype, 3 if bitwise else 2, x, u, [mask, repeat, step, 0, 0, 0, base], bits)
        active = lanes(bits, width) if bitwise else np.arange(width) < mask
        expected = np.zeros(ELEMENTS, dtype)
        for r in range(repeat):
            taken = x[(u[r * width : (r + 1) * width] + base) // size]
            expected[r * step * 32 // size :][:width][active] = taken[active]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("op", [4, 5, 6, 7])
@types
def test_reduce_mask_forms(api, dtype, op):
    """ReduceMax, ReduceMin and ReduceSum over masked repeats; small integers, whose sums are exact."""
    rng = np.random.default_rng([dtype.itemsize, op])
    width = 256 // dtype.itemsize
    for _ in range(images.share(4)):
        x, u = rng.integers(-8, 9, ELEMENTS).astype(dtype), data(rng, dtype)[1]
        mask, repeat, step = int(rng.integers(1, width + 1)), int(rng.integers(1, 9)), int(rng.integers(8, 13))
        bits, index = images.bits_of(rng, width), bool(rng.integers(2))
        got, _ = call(api, dtype, op, x, u, [mask, repeat, step, index], bits)
        active = lanes(bits, width) if op in (5, 7) else np.arange(width) < mask
        rows = np.stack([x[r * step * 32 // dtype.itemsize :][:width] for r in range(repeat)])
        where = np.flatnonzero(np.tile(active, repeat))
        values = rows.reshape(-1)[where]
        if op > 5:
            assert got[0] == values.astype(np.float64).sum()
            continue
        best = values.argmax() if op == 4 else values.argmin()
        assert got[0] == values[best]
        if index:
            assert got[1:2].view(f"u{dtype.itemsize}")[0] == where[best]


@types
def test_init_output(api, dtype):
    rng = np.random.default_rng(8)
    for _ in range(images.share(2)):
        count, value, first = (int(v) for v in rng.integers([1, -9, 0], [1000, 9, 1000]))
        got, _ = call(api, dtype, 8, *data(rng, dtype), [count, value, first])
        expected = np.zeros(ELEMENTS, dtype)
        expected[first : first + count] = value
        np.testing.assert_array_equal(got, expected)


@types
def test_create_vec_index(api, dtype):
    rng = np.random.default_rng(9)
    for _ in range(images.share(2)):
        count, first = (int(v) for v in rng.integers([1, -300], [ELEMENTS, 300]))
        got, _ = call(api, dtype, 9, *data(rng, dtype), [count, first])
        expected = np.zeros(ELEMENTS, dtype)
        expected[:count] = first + np.arange(count)
        np.testing.assert_array_equal(got, expected)


@types
def test_scalar_access(api, dtype):
    """GetValue and SetValue in UB, eight of each in order."""
    rng = np.random.default_rng(10)
    for _ in range(images.share(2)):
        x, u = data(rng, dtype)
        to, source = rng.integers(0, ELEMENTS, (2, 8))
        got, _ = call(api, dtype, 10, x, u, to << 16 | source)
        expected = np.zeros(ELEMENTS, dtype)
        for i in range(8):
            expected[to[i]] = x[source[i]]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("m,n,k", [(16, 16, 16), (33, 20, 48), (50, 81, 37), (17, 5, 96)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("leave_flags", [False, True])
def test_load3d_with_bias(api, m, n, k, transposed, leave_flags):
    rng = np.random.default_rng(m + n)
    a, b = rng.standard_normal((m, k)).astype(np.float16), rng.standard_normal((k, n)).astype(np.float16)
    bias = rng.standard_normal((n + 15) // 16 * 16).astype(np.float32)
    tiling = np.zeros(1, TILING)
    tiling["p"][0, :5] = [m, n, k, transposed, leave_flags]
    left = np.ascontiguousarray(a.T) if transposed else a
    arguments = [left, b, bias, twin.output((m, n), np.float32), None, tiling]
    got = api.launch("api_rare_cube", arguments, timing=False).outputs[0]
    np.testing.assert_allclose(got, a.astype(np.float64) @ b.astype(np.float64) + bias[:n], rtol=1e-4, atol=1e-4)
