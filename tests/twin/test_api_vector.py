import numpy as np
import pytest

from twin import faults, twin

IMAGE = 32768
TILING = np.dtype([("op", "i8"), ("dst", "i8"), ("src0", "i8"), ("src1", "i8"), ("p", "i8", 16)])


@pytest.fixture(scope="module")
def api():
    return twin.compile_kernel(faults.KERNELS / "api_vector.cpp", halves=["vector"])


def call(api, dtype, image, op, dst=0, src0=0, src1=0, **p):
    """The UB image after one API call; p0, p1, ... are its parameters."""
    tiling = np.zeros(1, TILING)
    tiling["op"], tiling["dst"], tiling["src0"], tiling["src1"] = op, dst, src0, src1
    for name, value in p.items():
        tiling["p"][0, int(name[1:])] = value
    entry = {np.float32: "api_float", np.float16: "api_half"}[dtype]
    arguments = [image, twin.output(IMAGE, np.uint8), None, tiling]
    return api.launch(entry, arguments, timing=False).outputs[0]


def image_of(rng, dtype):
    return rng.standard_normal(IMAGE // np.dtype(dtype).itemsize).astype(dtype).view(np.uint8).copy()


def lanes(dtype, offset, mask, repeat, block_stride, repeat_stride):
    """Element numbers [repeat, mask] in the image of an operand: 8 blocks a repeat, strides in 32 bytes."""
    per_block = 32 // np.dtype(dtype).itemsize
    lane = np.arange(mask)
    blocks = lane // per_block * block_stride + np.arange(repeat)[:, None] * repeat_stride
    return offset // np.dtype(dtype).itemsize + blocks * per_block + lane % per_block


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_add_forms(api, dtype):
    rng = np.random.default_rng(1)
    width = 256 // np.dtype(dtype).itemsize
    for _ in range(60):
        image = image_of(rng, dtype)
        mask, repeat = int(rng.integers(1, width + 1)), int(rng.integers(1, 5))
        strides = {"p2": rng.integers(1, 3), "p3": rng.integers(0, 3), "p4": rng.integers(0, 3)}
        steps = {"p5": rng.integers(16, 20), "p6": rng.integers(0, 20), "p7": rng.integers(0, 20)}
        got = call(api, dtype, image, 1, 0, 8192, 16384, p0=mask, p1=repeat, **strides, **steps).view(dtype)
        expected = image.view(dtype).copy()
        at = [
            lanes(dtype, o, mask, repeat, strides[f"p{2 + i}"], steps[f"p{5 + i}"])
            for i, o in enumerate([0, 8192, 16384])
        ]
        expected[at[0]] = expected[at[1]] + expected[at[2]]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_whole_reduce_max(api, dtype):
    rng = np.random.default_rng(2)
    width = 256 // np.dtype(dtype).itemsize
    index_type = {np.float32: np.uint32, np.float16: np.uint16}[dtype]
    for _ in range(40):
        image = image_of(rng, dtype)
        mask, repeat, order = (
            int(rng.integers(1, width + 1)),
            int(rng.integers(1, 9)),
            int(rng.choice([0, 2])),
        )
        got = call(api, dtype, image, 6, 0, 8192, p0=mask, p1=repeat, p5=1, p3=1, p6=8, p8=order).view(dtype)
        expected = image.view(dtype).copy()
        rows = expected[lanes(dtype, 8192, mask, repeat, 1, 8)]
        if order == 2:
            expected[:repeat] = rows.max(1)
        else:
            expected[: 2 * repeat : 2] = rows.max(1)
            expected[1 : 2 * repeat : 2] = rows.argmax(1).astype(index_type).view(dtype)
        np.testing.assert_array_equal(got.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_brcb(api, dtype):
    rng = np.random.default_rng(3)
    per_block = 32 // np.dtype(dtype).itemsize
    for repeat in (1, 2, 5):
        image = image_of(rng, dtype)
        got = call(api, dtype, image, 5, 0, 8192, p1=repeat, p2=1, p5=8).view(dtype)
        expected = image.view(dtype).copy()
        start = 8192 // expected.itemsize
        expected[: repeat * 8 * per_block] = np.repeat(expected[start : start + repeat * 8], per_block)
        np.testing.assert_array_equal(got, expected)
