# SPDX-License-Identifier: Apache-2.0
"""Cast: every pair of types and round mode against rounding stated by the neighbours of the exact value."""

import ml_dtypes
import numpy as np
import pytest

from twin import images
from twin.images import BITS, COUNT, COUNTER, PREFIX, Case

IMAGE = 16384
NONE, RINT, FLOOR, CEIL, ROUND, TRUNC, ODD = range(7)
DIRECTED = (RINT, FLOOR, CEIL, ROUND, TRUNC)
PAIRS = {
    ("float16", "float32"): (NONE,),
    ("float16", "int32"): DIRECTED,
    ("float16", "int16"): DIRECTED,
    ("float16", "int8"): (NONE, *DIRECTED),
    ("float16", "uint8"): (NONE, *DIRECTED),
    ("float32", "float16"): (NONE, *DIRECTED, ODD),
    ("float32", "bfloat16"): DIRECTED,
    ("float32", "float32"): DIRECTED,
    ("float32", "int64"): DIRECTED,
    ("float32", "int32"): DIRECTED,
    ("float32", "int16"): DIRECTED,
    ("bfloat16", "float32"): (NONE,),
    ("bfloat16", "int32"): DIRECTED,
    ("int8", "float16"): (NONE,),
    ("uint8", "float16"): (NONE,),
    ("int16", "float16"): (NONE, *DIRECTED),
    ("int16", "float32"): (NONE,),
    ("int32", "float32"): (NONE, *DIRECTED),
    ("int32", "int64"): (NONE,),
    ("int32", "int16"): (NONE,),
    ("int64", "int32"): (NONE,),
    ("int64", "float32"): DIRECTED,
}


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


@pytest.fixture(scope="module")
def api():
    return images.compiled("api_cast")


def neighbours(exact, dtype):
    """The largest value of dtype <= exact, the smallest >= exact, and whether the lower has an odd last bit."""
    if dtype == np.float32:
        near = exact.astype(np.float32)
        down = np.where(near <= exact, near, np.nextafter(near, np.float32(-np.inf)))
        up = np.where(near >= exact, near, np.nextafter(near, np.float32(np.inf)))
        return down.astype(np.longdouble), up.astype(np.longdouble), down.view(np.uint32) & 1
    patterns = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        values = patterns.view(dtype).astype(np.float64)
    finite = np.isfinite(values) & ~((values == 0) & (patterns != 0))
    order = np.argsort(values[finite])
    values, patterns = values[finite][order], patterns[finite][order]
    below = np.searchsorted(values, exact.astype(np.float64), "right") - 1
    above = np.searchsorted(values, exact.astype(np.float64), "left")
    return values[below].astype(np.longdouble), values[above].astype(np.longdouble), patterns[below] & 1


def choose(exact, down, up, down_odd, mode):
    with np.errstate(invalid="ignore"):
        tie, near_up = up - exact == exact - down, up - exact < exact - down
    near_even = near_up | (tie & (down_odd != 0))
    return {
        FLOOR: down,
        CEIL: up,
        TRUNC: np.where(exact > 0, down, up),
        ROUND: np.where(tie, np.where(exact > 0, up, down), np.where(near_up, up, down)),
        ODD: np.where(down_odd != 0, down, up),
        RINT: np.where(near_even, up, down),
        NONE: np.where(near_even, up, down),
    }[mode]


def rounded(values, target, mode):
    """The statement of Cast: float targets go to a neighbour, integer targets saturate, NaN becomes 0."""
    exact = values.astype(np.longdouble)
    if target.kind in "iu" or target == values.dtype:
        down, up = np.floor(exact), np.ceil(exact)
        with np.errstate(invalid="ignore"):
            odd = np.fmod(down, 2) != 0
        result = choose(exact, down, up, odd, mode)
        if target.kind not in "iu":
            return result.astype(target)
        limits = np.iinfo(target)
        low, high = result <= limits.min, result >= limits.max
        inside = np.where(low | high | np.isnan(result), 0, result).astype(target)
        return np.where(low, limits.min, np.where(high, limits.max, inside)).astype(target)
    down, up, odd = neighbours(exact, target)
    result = np.where(down == up, down, choose(exact, down, up, odd, mode))
    # A result that vanishes keeps the sign of what it came from.
    return np.copysign(result, exact).astype(np.float64).astype(target)


def source_values(rng, source, target, count):
    """Numbers around the target's spacing, halves and ties, small and large, inside its finite range."""
    if source.kind in "iu":
        limits = np.iinfo(source)
        uniform = rng.integers(limits.min, limits.max, count, source, endpoint=True)
        return np.where(rng.random(count) < 0.5, uniform, rng.integers(max(limits.min, -128), 128, count)).astype(
            source
        )
    scale = np.exp2(rng.uniform(*((-3, 20) if target.kind in "iu" else (-20, 15)), count))
    values = np.clip(rng.standard_normal(count) * scale, -60000, 60000)
    if source.name == target.name or target.kind in "iu":
        ties = rng.random(count) < 0.4
        values = np.where(ties, np.round(values % 200) - 100 + 0.5 * rng.integers(-3, 4, count), values)
    elif source == np.float32:
        ties = rng.random(count) < 0.5
        # Values halfway between two neighbours of the target: one bit more than its mantissa holds.
        pattern = values.astype(target).view(np.uint16)
        here, beyond = (bits.view(target).astype(np.float64) for bits in (pattern, pattern + np.uint16(1)))
        values = np.where(ties, here + 0.5 * (beyond - here), values)
    return np.clip(values, -60000, 60000).astype(source)


def random_case(rng, mode, source, target):
    wide = max(source.itemsize, target.itemsize)
    width = 256 // wide
    form = int(rng.choice([COUNT, PREFIX, BITS, COUNTER]))
    sizes = (target.itemsize, source.itemsize)
    dense = [int(rng.integers(1, 3)), int(rng.integers(1, 4))]
    # A narrow side fills fewer blocks of a repeat.
    used = [8 * s // wide for s in sizes]
    step = [d * u + int(rng.integers(0, 4)) for d, u in zip(dense, used)]
    repeat = int(rng.integers(1, 5))
    n = int(rng.integers(1, width + 1)) if form == PREFIX else int(rng.integers(1, 4 * width + 1))
    dst, src = (32 * int(rng.integers(0, 60)) + 8192 * i for i in (0, 1))
    bits = images.bits_of(rng, width)
    if width < 64:
        bits = (bits[0] & ((1 << width) - 1) or 1, 0)
    return Case(mode, form, dst, src, 0, n, bits, repeat, (*dense, 1), (*step, 8))


@pytest.mark.parametrize("pair", PAIRS, ids="->".join)
def test_cast(api, pair):
    source, target = map(dtype_of, pair)
    wide = max(source.itemsize, target.itemsize)
    rng = np.random.default_rng([source.itemsize, target.itemsize, len(pair[0]), len(pair[1])])
    cases = [random_case(rng, mode, source, target) for mode in PAIRS[pair] for _ in range(18)]
    data = np.zeros((len(cases), IMAGE), np.uint8)
    for image in data:
        image.view(source)[:] = source_values(rng, source, target, IMAGE // source.itemsize)
    got = images.run(api, "cast_" + "_".join(pair), data, cases)
    for case, before, after in zip(cases, data, got):
        expected = before.copy()
        values = before.view(source)[case.elements(1, source, wide)]
        expected.view(target)[case.elements(0, target, wide)] = rounded(values, target, case.op)
        images.assert_same(after, expected, case)


@pytest.mark.parametrize("target", ["int32", "int16"])
def test_special_values(api, target):
    """Out of range saturates, NaN becomes 0 (Cast, floating point to integer)."""
    values = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 32767.5, -32768.5, 0.0], np.float32)
    image = np.zeros((1, IMAGE), np.uint8)
    image[0, 8192 : 8192 + 32] = values.view(np.uint8)
    case = Case(RINT, COUNT, 0, 8192, n=8)
    got = images.run(api, f"cast_float32_{target}", image, [case])[0].view(target)[:8]
    np.testing.assert_array_equal(got, rounded(values, np.dtype(target), RINT))


def test_float16_nearest_exhaustive(api):
    """All finite float16 patterns come back from float32; float32 just around a tie goes to the even side."""
    patterns = np.arange(0x7C00, dtype=np.uint16)
    exact = patterns.view(np.float16).astype(np.float32)
    ties = (exact[:-1].astype(np.float64) + exact[1:]) / 2
    around = [np.nextafter(ties.astype(np.float32), np.float32(d)) for d in (-1, 1e9)]
    values = np.concatenate([exact, ties.astype(np.float32), *around])
    per_image = 2048
    rows = -(-values.size // per_image)
    data = np.zeros((rows, IMAGE), np.uint8)
    padded = np.zeros(rows * per_image, np.float32)
    padded[: values.size] = values
    data[:, 8192:] = padded.view(np.uint8).reshape(rows, -1)
    cases = [Case(NONE, COUNT, 0, 8192, n=per_image)] * rows
    got = images.run(api, "cast_float32_float16", data, cases)[:, : 2 * per_image].copy().view(np.float16).ravel()
    np.testing.assert_array_equal(got[: values.size].view(np.uint16), values.astype(np.float16).view(np.uint16))
