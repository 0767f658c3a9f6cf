# SPDX-License-Identifier: Apache-2.0
"""Cube API: layouts and transposes into L1, L0A and L0B, Mmad, Fixpipe, each against its index formula."""

import dataclasses

import numpy as np
import pytest

from twin import images, twin
from twin.images import BFLOAT16

IMAGE, SHOWN, FRACTAL = 16384, 32768, 512
FRACTALS = IMAGE // FRACTAL
TYPES = {
    "half": np.dtype(np.float16),
    "bfloat16_t": BFLOAT16,
    "float": np.dtype(np.float32),
    "int8_t": np.dtype(np.int8),
}
ND2NZ, COPY_TO_L1, FILL_L1, LOAD_GM_TO_L1, FIX_TO_L1 = range(5)
LOAD_A, TRANSPOSE_A, LOAD_GM_TO_A, FILL_A, LOAD_3D_A = range(10, 15)
LOAD_B, TRANSPOSE_B, LOAD_GM_TO_B, FILL_B, LOAD_3D_B = range(20, 25)
MULTIPLY, FIXPIPE, STORE_L1 = range(30, 33)
_CASE = np.dtype([("op", "i8"), ("offset", "i8", 2), ("p", "i8", 12)])


@dataclasses.dataclass
class Case:
    op: int
    offset: tuple = (0, 0)
    p: tuple = ()


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_cube", ["cube"])


def identity():
    """The half identity in one fractal, the float identity in two of 16 columns by 8."""
    eye = np.eye(16)
    slabs = [eye[:, :8], eye[:, 8:]]
    parts = [eye.astype(np.float16), *(np.ascontiguousarray(s).astype(np.float32) for s in slabs)]
    return np.concatenate([p.view(np.uint8).ravel() for p in parts] + [np.zeros(512, np.uint8)])


def finite_images(rng, count, size=2):
    """Bytes that are finite halves however a move of `size` bytes puts them: every bit shows, none is NaN."""
    data = rng.integers(0, 256, (count, IMAGE), np.uint8)
    high = slice(None) if size == 1 else slice(1, None, 2)
    shape = data[:, high].shape
    data[:, high] = rng.integers(0x20, 0x50, shape) | rng.choice([0, 0x80], shape)
    return data


def run(api, name, cases, data, shown=None, checks=True):
    table = np.zeros(len(cases) + 1, _CASE)
    for row, case in zip(table, cases):
        row["op"], row["offset"], row["p"][: len(case.p)] = case.op, case.offset, case.p
    table[-1]["op"] = -1
    out = twin.Argument(shown, "inout") if shown is not None else twin.output((len(cases), SHOWN), np.uint8)
    arguments = [data, identity(), out, table]
    return api.launch(f"cube_{name}", arguments, task_type="AIC_ONLY", timing=False, checks=checks).outputs[0]


def check_moves(api, name, cases, rng, state, checks=True):
    """state(case, source image, shown image) changes the shown image."""
    size = TYPES[name].itemsize
    data = np.stack([finite_images(rng, len(cases), size) for _ in range(3)], axis=1)
    got = run(api, name, cases, np.ascontiguousarray(data), checks=checks).view(np.float32)
    for case, (source, before, _), floats in zip(cases, data, got):
        expected = before.copy()
        state(case, source, expected)
        fractals = floats.reshape(FRACTALS, 16, 16)
        if case.op >= LOAD_B:
            fractals = fractals.transpose(0, 2, 1)
        halves = np.ascontiguousarray(fractals.astype(np.float16)).view(np.uint8).ravel()
        images.assert_same(halves, expected, case)


@pytest.mark.parametrize("name", TYPES)
def test_nd_to_nz(api, name):
    """Element (q, i, j) goes to q*matrix + j/C0*slab + i*row + j%C0; the last slab's columns are 0."""
    dtype = TYPES[name]
    size, c0 = dtype.itemsize, 32 // dtype.itemsize
    rng = np.random.default_rng(size)
    cases = []
    while len(cases) < 100:
        nd, n, d = int(rng.integers(1, 4)), int(rng.integers(1, 40)), int(rng.integers(1, 90))
        stride = d + int(rng.integers(0, 20))
        row, matrix = int(rng.integers(1, 3)), n * stride + int(rng.integers(0, 9))
        slab = row * n + int(rng.integers(0, 9))
        slabs = -(-d // c0)
        # Matrices one behind the other, or, with room left in the rows, interleaved.
        apart = slab * slabs * c0 if rng.random() < 0.7 else c0 * max(row * n, 1)
        if apart == c0 * row * n:
            slab = max(slab, nd * row * n)
        offset = (32 * int(rng.integers(0, 20)), size * int(rng.integers(0, 20)))
        end = offset[0] + ((nd - 1) * apart + (slabs - 1) * slab * c0 + (n - 1) * row * c0 + c0) * size
        if end <= IMAGE and offset[1] + nd * matrix * size <= IMAGE:
            cases.append(Case(ND2NZ, offset, (nd, n, d, matrix, stride, slab, row, apart)))

    def state(case, source, shown):
        nd, n, d, matrix, stride, slab, row, apart = case.p
        src = source[case.offset[1] :].view(dtype)
        dst = shown[case.offset[0] :].view(dtype)
        q, i, j = np.meshgrid(np.arange(nd), np.arange(n), np.arange(-(-d // c0) * c0), indexing="ij")
        values = np.where(j < d, src[np.minimum(q * matrix + i * stride + j, src.size - 1)], dtype.type(0))
        dst[q * apart + j // c0 * slab * c0 + i * row * c0 + j % c0] = values

    check_moves(api, name, cases, rng, state)


@pytest.mark.parametrize("name", TYPES)
def test_copy_to_l1(api, name):
    rng = np.random.default_rng([2, len(name)])
    cases = []
    for _ in range(images.share(len(TYPES))):
        count, length, src_gap, dst_gap = (int(v) for v in rng.integers([1, 1, 0, 0], [12, 20, 20, 20]))
        offset = (32 * int(rng.integers(0, 20)), 2 * int(rng.integers(0, 20)))
        cases.append(Case(COPY_TO_L1, offset, (count, length, src_gap, dst_gap)))

    def state(case, source, shown):
        count, length, src_gap, dst_gap = case.p
        for i in range(count):
            to, at = case.offset[0] + 32 * i * (length + dst_gap), case.offset[1] + 32 * i * (length + src_gap)
            shown[to : to + 32 * length] = source[at : at + 32 * length]

    check_moves(api, name, cases, rng, state)


@pytest.mark.parametrize("name", ["half", "bfloat16_t", "float"])
def test_fill(api, name):
    """Blocks of 32 bytes in L1, of 512 in L0A and L0B."""
    rng = np.random.default_rng(3)
    dtype = TYPES[name]
    cases = []
    for op in (FILL_L1, FILL_A, FILL_B):
        block = 32 if op == FILL_L1 else 512
        for _ in range(30):
            top = [9, 9, 9] if block == 32 else [4, 4, 4]
            times, blocks, gap = (int(v) for v in rng.integers([1, 1, 0], top))
            # Values whose halves, cut from a float, are finite: small multiples of powers of two.
            value = int(rng.choice([1, 2, 3, -4, 6, 0]))
            cases.append(Case(op, (block * int(rng.integers(0, 8)), 0), (times, blocks, gap, value)))

    def state(case, _, shown):
        times, blocks, gap, value = case.p
        block = 32 if case.op == FILL_L1 else 512
        for i in range(times):
            begin = case.offset[0] + i * (blocks + gap) * block
            shown[begin : begin + blocks * block].view(dtype)[:] = dtype.type(value)

    check_moves(api, name, cases, rng, state)


@pytest.mark.parametrize("name", TYPES)
def test_load_2d(api, name):
    """Repeat r: fractal start + r*stride to fractal r*(1+gap), transposed for 16-bit types from L1."""
    rng = np.random.default_rng(4)
    dtype = TYPES[name]
    cases = []
    for op in (LOAD_A, LOAD_B, LOAD_GM_TO_A, LOAD_GM_TO_B, LOAD_GM_TO_L1):
        for _ in range(40):
            start, times, stride, gap = (int(v) for v in rng.integers([0, 1, 0, 0], [4, 9, 4, 3]))
            unit = 32 if op == LOAD_GM_TO_L1 else FRACTAL
            from_gm = op in (LOAD_GM_TO_A, LOAD_GM_TO_B, LOAD_GM_TO_L1)
            turned = int(dtype.itemsize == 2 and not from_gm and rng.random() < 0.6)
            offset = (unit * int(rng.integers(0, 4)), 32 * int(rng.integers(0, 20)))
            cases.append(Case(op, offset, (start, times, stride, gap, turned)))

    def state(case, source, shown):
        start, times, stride, gap, turned = case.p
        for r in range(times):
            fractal = source[case.offset[1] + (start + r * stride) * FRACTAL :][:FRACTAL]
            if turned:
                fractal = np.ascontiguousarray(fractal.view(np.uint16).reshape(16, 16).T).view(np.uint8).ravel()
            shown[case.offset[0] + r * (1 + gap) * FRACTAL :][:FRACTAL] = fractal

    check_moves(api, name, cases, rng, state)


@pytest.mark.parametrize("name", TYPES)
def test_load_with_transpose(api, name):
    """A square of 16x16 (32x32 of 8 bits) turned; its two fractals may part in the destination."""
    rng = np.random.default_rng(5)
    size = TYPES[name].itemsize
    fractals = 1 if size == 2 else 2
    cases = []
    for op in (TRANSPOSE_A, TRANSPOSE_B):
        for _ in range(50):
            start, times, stride = (int(v) for v in rng.integers([0, 1, 0], [3, 6, 3]))
            inner = int(rng.integers(0, 3)) if fractals == 2 else 0
            # Repeats one behind the other, or one in the gap between the fractals of the other.
            gap = fractals * (1 + inner) - 1 + int(rng.integers(0, 2))
            if inner and rng.random() < 0.5:
                gap, times = 0, min(times, 1 + inner)
            offset = (FRACTAL * int(rng.integers(0, 2)), 32 * int(rng.integers(0, 9)))
            last = offset[0] // FRACTAL + (times - 1) * (1 + gap) + (fractals - 1) * (1 + inner)
            source_end = offset[1] + (start + (times - 1) * stride + 1) * FRACTAL * fractals
            if last < FRACTALS and source_end <= IMAGE:
                cases.append(Case(op, offset, (start, times, stride, gap, inner)))
    assert len(cases) > 60
    n = 32 if size == 1 else 16

    def state(case, source, shown):
        start, times, stride, gap, inner = case.p
        for r in range(times):
            raw = source[case.offset[1] + (start + r * stride) * FRACTAL * fractals :][: FRACTAL * fractals]
            elements = raw.view(f"u{size}")
            if size == 4:
                square = np.concatenate(elements.reshape(2, 16, 8), axis=1).T
                parts = [square[:, :8], square[:, 8:]]
            else:
                square = elements.reshape(n, n).T
                parts = [square[i * 16 : i * 16 + 16] for i in range(fractals)]
            for f, part in enumerate(parts):
                begin = case.offset[0] + (r * (1 + gap) + f * (1 + inner)) * FRACTAL
                shown[begin : begin + FRACTAL] = np.ascontiguousarray(part).view(np.uint8).ravel()

    check_moves(api, name, cases, rng, state)


def load_3d_case(rng, op, size, ragged):
    """A block of rows and channels out of an image; ragged ones end in the image's last rows or half a tile."""
    c0 = 32 // size
    while True:
        turned = op == LOAD_3D_B or rng.random() < 0.5 * (size > 1)
        height, width, slabs = (int(v) for v in rng.integers([1, 1, 1], [4, 70, 9]))
        row, slab = int(rng.integers(0, height * width)), int(rng.integers(0, slabs))
        rows = height * width - row if ragged else 16 * int(rng.integers(1, 6))
        channels = c0 * int(rng.integers(1, slabs - slab + 1))
        if not ragged and (row + rows > height * width or (turned and channels % 16)):
            continue
        fractals = -(-rows // 16) * 16 * (-(-channels // 16) * 16 if turned else channels) * size // FRACTAL
        offset = (FRACTAL * int(rng.integers(0, 3)), 32 * int(rng.integers(0, 5)))
        if offset[0] // FRACTAL + fractals <= FRACTALS and offset[1] + height * width * slabs * 32 <= IMAGE:
            return Case(op, offset, (height, width, slabs * c0, rows, channels, row, slab * c0, int(turned)))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", TYPES)
def test_load_3d(api, name, ragged):
    """Element (i, k) of the block is at slab k/C0, row i in L1; the layouts of L0A and L0B say where it goes.
    enTranspose makes A of the transpose; L0B takes the block as k x n. What a tile lacks stays undefined: ragged
    blocks run in fast mode, where those bytes keep their value."""
    dtype = TYPES[name]
    size, c0 = dtype.itemsize, 32 // dtype.itemsize
    rng = np.random.default_rng([size, ragged, len(name)])
    ops = (LOAD_3D_A, LOAD_3D_B) if size > 1 else (LOAD_3D_A,)
    cases = [load_3d_case(rng, op, size, ragged) for op in ops for _ in range(50)]

    def state(case, source, shown):
        height, width, _, rows, channels, row, first, turned = case.p
        i, k = np.meshgrid(np.arange(rows), np.arange(channels), indexing="ij")
        at = (first + k) // c0 * height * width * c0 + (row + i) * c0 + k % c0
        values = source[case.offset[1] :].view(f"u{size}")[at]
        if case.op == LOAD_3D_B:
            to = fractal_offsets(channels, -(-rows // 16) * 16, c0, 1, -(-channels // 16))[:, :rows].T
        elif turned:
            to = fractal_offsets(channels, -(-rows // 16) * 16, c0, -(-rows // 16) * 16 // c0, 1)[:, :rows].T
        else:
            to = fractal_offsets(rows, channels, c0, channels // c0, 1)
        shown[case.offset[0] :].view(f"u{size}")[to] = values

    check_moves(api, name, cases, rng, state, checks=not ragged)


@pytest.mark.parametrize("name", TYPES)
def test_store_from_l1(api, name):
    """DataCopy from L1 to GM in bursts, plain and as atomic add."""
    dtype = TYPES[name]
    size = dtype.itemsize
    rng = np.random.default_rng(size + 30)
    cases = []
    for _ in range(60):
        count, length, src_gap, dst_gap = (int(v) for v in rng.integers([1, 1, 0, 0], [10, 20, 20, 20]))
        offset = (size * int(rng.integers(0, 40)), 32 * int(rng.integers(0, 20)))
        cases.append(Case(STORE_L1, offset, (count, length, src_gap, dst_gap, int(rng.random() < 0.4))))
    data = np.stack([images.random_images(rng, len(cases), IMAGE, dtype) for _ in range(3)], axis=1)
    shown = images.random_images(rng, len(cases), SHOWN, dtype)
    if size == 1:
        data, shown = ((d.view(np.int8) // 2).view(np.uint8) for d in (data, shown))
    got = run(api, name, cases, np.ascontiguousarray(data), shown)
    for case, (source, _, _), before, after in zip(cases, data, shown, got):
        count, length, src_gap, dst_gap, atomic = case.p
        expected = before.copy()
        for i in range(count):
            to, at = case.offset[0] + 32 * i * (length + dst_gap), case.offset[1] + 32 * i * (length + src_gap)
            piece = expected[to : to + 32 * length].view(dtype)
            moved = source[at : at + 32 * length].view(dtype)
            piece[:] = piece + moved if atomic else moved
        images.assert_same(after, expected, case)


def fractal_offsets(rows, k, c0, row_fractals, k_fractals):
    """Element offsets [rows, k] of an operand: 16 x C0 fractals with the given fractal strides."""
    i, j = np.meshgrid(np.arange(rows), np.arange(k), indexing="ij")
    return (i // 16 * row_fractals + j // c0 * k_fractals) * 16 * c0 + i % 16 * c0 + j % c0


@pytest.mark.parametrize("name", TYPES)
def test_mmad(api, name):
    """Ragged m, n, k with NaN in all padding; accumulation, bias, GEMV, kDirectionAlign. Sums are exact."""
    dtype = TYPES[name]
    size, c0 = dtype.itemsize, 32 // dtype.itemsize
    out_type = np.dtype(np.int32 if size == 1 else np.float32)
    rng = np.random.default_rng(size + 6)
    cases, operands = [], []
    data = np.full((100, 3, IMAGE), 0x7F if size == 1 else 0xFF, np.uint8)
    while len(cases) < 100:
        m, n, k = (int(v) for v in rng.integers(1, [80, 80, 140]))
        if rng.random() < 0.15:
            m = 1
        align = int(size == 4 and m > 1 and rng.random() < 0.3)
        more = int(rng.integers(1, k + 1)) if rng.random() < 0.4 else 0
        bias = int(rng.random() < 0.3)
        k_fractals = -(-k // 16) * 2 if align else -(-k // c0)
        n_fractals = -(-n // 16)
        fits = max(-(-m // 16), n_fractals) * max(k_fractals, -(-k // c0)) * FRACTAL <= IMAGE
        tile = -(-m // 16) * n_fractals * 1024
        # A second product with another k reads A with its own fractal count: the layout must be the same.
        if more and (-(-more // 16) * 2 if align else -(-more // c0)) != k_fractals and m > 16:
            more = 0
        if not fits or tile > 2 * IMAGE or m * (n + 3) * 4 > SHOWN:
            continue
        a, b = (rng.integers(-8, 9, shape).astype(dtype) for shape in ((m, k), (k, n)))
        start = rng.integers(-50, 50, n).astype(out_type)
        image = data[len(cases)]
        at = np.arange(k)[None] if m == 1 else fractal_offsets(m, k, c0, k_fractals, 1)
        image[0].view(dtype)[at] = a
        image[1].view(dtype)[fractal_offsets(n, k, c0, 1, n_fractals)] = b.T
        image[2][: 4 * n] = start.view(np.uint8)
        cases.append(Case(MULTIPLY, p=(m, n, k, more, bias, align)))
        operands.append((a.astype(np.int64), b.astype(np.int64), start))
    shown = rng.integers(0, 256, (len(cases), SHOWN), np.uint8)
    got = run(api, name, cases, data, shown)
    for case, (a, b, start), before, after in zip(cases, operands, shown, got):
        m, n, _, more, bias, _ = case.p
        product = a @ b + (a[:, :more] @ b[:more] if more else 0) + (start if bias else 0)
        expected = before.copy()
        rows = expected.view(out_type)[: m * (n + 3)].reshape(m, n + 3)
        rows[:, :n] = product
        images.assert_same(after, expected, case)


def test_mmad_rounding(api):
    """Random halves: float32 accumulation stays within the bound of a sum of k products."""
    rng = np.random.default_rng(7)
    m, n, k = 33, 47, 128
    a, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((m, k), (k, n)))
    data = np.zeros((1, 3, IMAGE), np.uint8)
    data[0, 0].view(np.float16)[fractal_offsets(m, k, 16, k // 16, 1)] = a
    data[0, 1].view(np.float16)[fractal_offsets(n, k, 16, 1, 3)] = b.T
    got = run(api, "half", [Case(MULTIPLY, p=(m, n, k, 0, 0, 0))], data, np.zeros((1, SHOWN), np.uint8))
    product = got.view(np.float32)[0, : m * (n + 3)].reshape(m, n + 3)[:, :n]
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert (np.abs(product - a @ b) <= k * 2.0**-24 * (np.abs(a) @ np.abs(b))).all()


def fixpipe_cases(rng, dtype, to_l1=False):
    size = dtype.itemsize
    limit = IMAGE if to_l1 else SHOWN
    cases = []
    while len(cases) < (100 if to_l1 else 160):
        nz = to_l1 or rng.random() < 0.5
        split = int(nz and size == 4 and rng.random() < 0.5)
        rows = int(rng.integers(1, 60))
        n = int(rng.integers(1, 60))
        if nz:
            n = -(-n // (8 if split else 16)) * (8 if split else 16)
        src_rows = -(-rows // 16) * 16 + 16 * int(rng.integers(0, 2))
        run_bytes = (8 if split else 16) * size
        stride = rows * run_bytes // 32 + int(rng.integers(0, 9)) if nz else n + int(rng.integers(0, 20))
        nd, apart, nd_step = 1, 0, 0
        if not nz and rng.random() < 0.5:
            nd, apart, nd_step = (
                int(rng.integers(2, 4)),
                int(rng.integers(1, 4)),
                rows * stride + int(rng.integers(0, 9)),
            )
        offset = (
            32 * int(rng.integers(0, 9)) if to_l1 else size * int(rng.integers(0, 9)),
            64 * int(rng.integers(0, 9)),
        )
        relu, atomic = int(rng.random() < 0.3), int(not to_l1 and rng.random() < 0.2)
        case = Case(
            FIX_TO_L1 if to_l1 else FIXPIPE,
            offset,
            (n, rows, src_rows, stride, nd, apart, nd_step, relu, split, int(nz), atomic),
        )
        src, dst = fixpipe_indices(case, size)
        if offset[1] // 4 + src.max() < IMAGE // 4 and offset[0] + (dst.max() + 1) * size <= limit:
            cases.append(case)
    return cases


def fixpipe_indices(case, size):
    """Source and destination element of every (matrix, row, column)."""
    n, rows, src_rows, stride, nd, apart, nd_step, _, split, nz, _ = case.p
    q, i, j = np.meshgrid(np.arange(nd), np.arange(rows), np.arange(n), indexing="ij")
    src = q * apart * 256 + j // 16 * src_rows * 16 + i * 16 + j % 16
    columns = 8 if split else 16
    dst = j // columns * stride * 32 // size + i * columns + j % columns if nz else q * nd_step + i * stride + j
    return src, dst


def converted(values, relu, dtype):
    return (np.maximum(values, np.float32(0)) if relu else values).astype(dtype)


def float_images(rng, count, dtype):
    """Floats, half of them exactly between two values of dtype: the even one is right."""
    values = (rng.standard_normal((count, IMAGE // 4)) * np.exp2(rng.integers(-8, 8, (count, IMAGE // 4)))).astype(
        np.float32
    )
    if dtype.itemsize == 2:
        here = values.astype(dtype)
        beyond = (here.view(np.uint16) + np.uint16(1)).view(dtype)
        middle = ((here.astype(np.float64) + beyond.astype(np.float64)) / 2).astype(np.float32)
        values = np.where(rng.random(values.shape) < 0.5, middle, values)
    return values


def zz_of(values):
    """The image that, as L0A of M x 16 floats, multiplied with the identity gives `values` row by row."""
    image = np.zeros(IMAGE // 4, np.float32)
    image[fractal_offsets(256, 16, 8, 2, 1)] = values.reshape(256, 16)
    return image.view(np.uint8)


@pytest.mark.parametrize("name", ["half", "bfloat16_t", "float"])
def test_fixpipe_to_gm(api, name):
    """ND and NZ, several matrices, channel split, ReLU, conversion to nearest even, atomic add."""
    dtype = TYPES[name]
    rng = np.random.default_rng(dtype.itemsize + 8)
    cases = fixpipe_cases(rng, dtype)
    values = float_images(rng, len(cases), dtype)
    data = np.zeros((len(cases), 3, IMAGE), np.uint8)
    data[:, 0] = [zz_of(v) for v in values]
    shown = rng.standard_normal((len(cases), SHOWN // dtype.itemsize)).astype(dtype).view(np.uint8)
    got = run(api, name, cases, data, shown)
    for case, source, before, after in zip(cases, values, shown, got):
        src, dst = fixpipe_indices(case, dtype.itemsize)
        expected = before.copy()
        view = expected[case.offset[0] :][: (SHOWN - case.offset[0]) // dtype.itemsize * dtype.itemsize].view(dtype)
        result = converted(source[case.offset[1] // 4 + src], case.p[7], dtype)
        view[dst] = view[dst] + result if case.p[10] else result
        images.assert_same(after, expected, case)


@pytest.mark.parametrize("name", ["half", "bfloat16_t"])
def test_fixpipe_to_l1(api, name):
    dtype = TYPES[name]
    rng = np.random.default_rng(9)
    cases = fixpipe_cases(rng, dtype, to_l1=True)
    # Values whose 16-bit patterns show as finite, nonzero halves.
    patterns = finite_images(rng, len(cases)).view(np.uint16)[:, ::2]
    values = np.ascontiguousarray(patterns).view(dtype).astype(np.float32)
    data = np.zeros((len(cases), 3, IMAGE), np.uint8)
    data[:, 0] = [zz_of(v) for v in values]
    data[:, 1] = finite_images(rng, len(cases))
    got = run(api, name, cases, data).view(np.float32).astype(np.float16).view(np.uint8)
    for case, source, before, after in zip(cases, values, data[:, 1], got):
        src, dst = fixpipe_indices(case, 2)
        expected = before.copy()
        # ReLU makes +0, which shows as +0.
        expected[case.offset[0] :].view(dtype)[dst] = converted(source[case.offset[1] // 4 + src], case.p[7], dtype)
        images.assert_same(after, expected, case)
