import numpy as np
import pytest

from twin import faults, twin

TILING = np.dtype([("op", "i8"), ("p", "i8", 8), ("bits", "u8", 2)])


@pytest.fixture(scope="module")
def api():
    return twin.compile_kernel(faults.KERNELS / "api_rare.cpp")


def call(api, op, x, u, p=(), bits=0):
    tiling = np.zeros(1, TILING)
    tiling["op"] = op
    tiling["p"][0, : len(p)] = p
    tiling["bits"][0, 0] = bits
    arguments = [x, u, twin.output(2048, np.float32), twin.output(16, np.int32, "count"), None, tiling]
    out, count = api.launch("api_rare_vector", arguments, timing=False).outputs
    return out, count[0]


def data(rng):
    return rng.standard_normal(2048).astype(np.float32), rng.integers(0, 2**32, 1024, dtype=np.uint32)


def pattern_bits(pattern, width):
    i = np.arange(width)
    return i % 2 == pattern - 1 if pattern < 3 else i % 4 == pattern - 3 if pattern < 7 else i >= 0


def bits_of(mask):
    return np.array([mask >> i & 1 for i in range(64)], bool)


@pytest.mark.parametrize("tensor", [False, True])
def test_gather_mask(api, tensor):
    rng = np.random.default_rng(11)
    for _ in range(60):
        x, u = data(rng)
        counter = bool(rng.integers(2))
        width = int(rng.integers(1, 200)) if counter else 64
        repeat, step, block = int(rng.integers(1, 5)), int(rng.integers(0, 30)), int(rng.integers(1, 3))
        pattern, mask_step = int(rng.integers(1, 8)), int(rng.integers(0, 3))
        p = [width if counter else 0, repeat, step, counter, block, mask_step, pattern]
        got, kept = call(api, int(tensor), x, u, p)
        i = np.arange(width)
        expected = []
        for r in range(repeat):
            at = r * step * 8 + i // 8 * block * 8 + i % 8
            words = u[r * mask_step * 8 :]
            bits = words[i // 32] >> (i % 32).astype(np.uint32) & 1 if tensor else pattern_bits(pattern, width)
            expected.append(x[at][bits.astype(bool)])
        expected = np.concatenate(expected)
        assert kept == len(expected)
        np.testing.assert_array_equal(got[:kept], expected)
        assert not got[kept:].any()


@pytest.mark.parametrize("bitwise", [False, True])
def test_gather_mask_forms(api, bitwise):
    rng = np.random.default_rng(12)
    for _ in range(60):
        x, u = data(rng)
        u[:] = rng.integers(0, 2000, 1024) * 4
        mask, repeat, step = int(rng.integers(1, 65)), int(rng.integers(1, 5)), int(rng.integers(8, 12))
        bits = int(rng.integers(1, 2**63))
        base = int(rng.integers(0, 40)) * 4
        got, _ = call(api, 3 if bitwise else 2, x, u, [mask, repeat, step, 0, 0, 0, base], bits)
        active = bits_of(bits) if bitwise else np.arange(64) < mask
        expected = np.zeros(2048, np.float32)
        for r in range(repeat):
            taken = x[(u[r * 64 : r * 64 + 64] + base) // 4]
            expected[r * step * 8 : r * step * 8 + 64][active] = taken[active]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("op", [4, 5, 6, 7])
def test_reduce_mask_forms(api, op):
    rng = np.random.default_rng(op)
    for _ in range(40):
        x, u = data(rng)
        mask, repeat, step = int(rng.integers(1, 65)), int(rng.integers(1, 9)), int(rng.integers(8, 25))
        bits, index = int(rng.integers(1, 2**63)), bool(rng.integers(2))
        got, _ = call(api, op, x, u, [mask, repeat, step, index], bits)
        active = bits_of(bits) if op in (5, 7) else np.arange(64) < mask
        rows = np.stack([x[r * step * 8 : r * step * 8 + 64] for r in range(repeat)])
        where = np.flatnonzero(np.tile(active, repeat))
        values = rows.reshape(-1)[where]
        if op > 5:
            np.testing.assert_allclose(got[0], values.astype(np.float64).sum(), rtol=1e-5, atol=1e-5)
            continue
        best = values.argmax() if op == 4 else values.argmin()
        assert got[0] == values[best]
        if index:
            assert got[1:2].view(np.uint32)[0] == where[best]


def test_init_output(api):
    got, _ = call(api, 8, *data(np.random.default_rng(0)))
    assert (got == 2.5).all()


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
