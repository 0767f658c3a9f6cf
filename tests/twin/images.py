# SPDX-License-Identifier: Apache-2.0
"""Many API calls on images of UB in one launch (kernels/api_image.h), and which elements a call works on."""

from __future__ import annotations

import dataclasses
import typing

import ml_dtypes
import numpy as np

from twin import faults, twin

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
COUNT, PREFIX, BITS, COUNTER, PRESET = range(5)
# Random cases of an API function over all of its types.
LEAST = 300
_CASE = np.dtype(
    [
        ("op", "i8"),
        ("form", "i8"),
        ("dst", "i8"),
        ("src0", "i8"),
        ("src1", "i8"),
        ("n", "i8"),
        ("bits", "u8", 2),
        ("repeat", "i8"),
        ("block", "i8", 3),
        ("step", "i8", 3),
        ("p", "i8", 6),
    ]
)


@dataclasses.dataclass
class Case:
    """One call. Offsets in bytes; block and step are the strides of dst, src0, src1 in 32 bytes."""

    op: int
    form: int = PREFIX
    dst: int = 0
    src0: int = 0
    src1: int = 0
    n: int = 0
    bits: tuple = (0, 0)
    repeat: int = 1
    block: tuple = (1, 1, 1)
    step: tuple = (8, 8, 8)
    p: tuple = (0, 0, 0, 0, 0, 0)

    def offset(self, operand: int) -> int:
        return (self.dst, self.src0, self.src1)[operand]

    def lanes(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """(repeat, lane) of every element that the call works on; `width` lanes make a repeat."""
        if self.form in (COUNT, COUNTER):
            i = np.arange(self.n)
            return i // width, i % width
        active = np.arange(self.n)
        if self.form in (BITS, PRESET):
            bits = [self.bits[i // 64] >> i % 64 & 1 for i in range(width)]
            active = np.flatnonzero(bits)
        repeat, lane = np.meshgrid(np.arange(self.repeat), active, indexing="ij")
        return repeat.ravel(), lane.ravel()

    def elements(self, operand: int, dtype: typing.Any, wide: int | None = None) -> np.ndarray:
        """Element numbers in the image of one operand; `wide` is the size of the widest operand's elements."""
        size = np.dtype(dtype).itemsize
        width, per_block = 256 // (wide or size), 32 // size
        repeat, lane = self.lanes(width)
        if self.form == COUNT:
            return self.offset(operand) // size + repeat * width + lane
        block = repeat * self.step[operand] + lane // per_block * self.block[operand]
        return self.offset(operand) // size + block * per_block + lane % per_block


def share(parts: int) -> int:
    """The cases of one of so many types or modes."""
    return -(-LEAST // parts)


def bits_of(rng: np.random.Generator, width: int) -> tuple[int, int]:
    """A random non-empty mask over the first `width` lanes."""
    words = [int(w) for w in rng.integers(1, 1 << 63, 2, np.uint64)]
    return (words[0], words[1] if width > 64 else 0)


def compiled(stem: str, halves: typing.Sequence[str] = ("vector",)) -> twin.Kernel:
    return twin.compile_kernel(faults.KERNELS / f"{stem}.cpp", halves=halves)


def table_of(cases: list[Case]) -> np.ndarray:
    """The cases as the kernels read them, with the row that ends the list."""
    table = np.zeros(len(cases) + 1, _CASE)
    for row, case in zip(table, cases):
        for name in _CASE.names:
            row[name] = getattr(case, name)
    table[-1]["op"] = -1
    return table


def run(kernel: twin.Kernel, entry: str, images: np.ndarray, cases: list[Case], **options) -> np.ndarray:
    """Images [case, byte] of UB after the calls."""
    arguments = [images, twin.output(images.shape, np.uint8), table_of(cases)]
    return kernel.launch(entry, arguments, timing=False, **options).outputs[0]


def random_images(rng: np.random.Generator, count: int, nbytes: int, dtype: typing.Any) -> np.ndarray:
    """Images [count, nbytes]: normal numbers, or integers that no sum or product of two overflows."""
    dtype = np.dtype(dtype)
    shape = (count, nbytes // dtype.itemsize)
    if dtype.kind in "iu":
        low = 0 if dtype.kind == "u" else -150
        values = rng.integers(low, 150 if dtype.itemsize > 1 else 100, shape)
    else:
        values = rng.standard_normal(shape) * 3
    return values.astype(dtype).view(np.uint8).reshape(count, nbytes)


def assert_same(got: np.ndarray, expected: np.ndarray, case: Case) -> None:
    """Whole images, byte for byte."""
    if (got == expected).all():
        return
    at = int(np.flatnonzero(got != expected)[0])
    raise AssertionError(f"byte {at}: {got[at]} instead of {expected[at]} in {case}")
