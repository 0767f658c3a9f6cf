# SPDX-License-Identifier: Apache-2.0
"""The registry of benchmark cases: sizes, the selection, the peak each is held against, and its bar.

Bars are fractions of a peak that the same run measures; they hold for the random selection, the hardest case for
caches. The local twins choose blocks as a model would and are reported beside them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

FORWARD, BACKWARD, TRAINING, DECODE = "forward", "backward", "forward+backward", "decode"
RANDOM, LOCAL = "random", "local"


class Bar(NamedTuple):
    """Fraction of the peak that must be reached, and the one aimed at."""

    fraction: float
    aim: Optional[float] = None


@dataclass(frozen=True)
class Case:
    """What the cases of all operators have in common; the defaults are the sizes of published models."""

    name: str
    operator: str
    group: int
    dtype: str = "bfloat16"
    selection: str = RANDOM
    isa: Optional[str] = None  # forced for this case; None: the one in use
    bar: Optional[Bar] = None
    series: str = ""  # cases that are looked at together: "linear" or "length"
    quick: bool = False  # part of --quick
    peers: bool = False  # run the other libraries' ways too
    n2: int = 4
    d1: int = 192
    d2: int = 128
    select_block_size: int = 64
    select_block_count: int = 16

    @property
    def n1(self):
        return self.n2 * self.group

    @property
    def bar_isa(self):
        """The instruction set that the bar was set for."""
        return self.isa or ("avx512bf16" if self.dtype == "bfloat16" else "avx512")


@dataclass(frozen=True)
class TrainingCase(Case):
    """Forward, backward, or both, over one packed sequence of t1 queries and t2 kv rows."""

    t1: int = 4096
    t2: int = 4096

    @property
    def unit(self):
        return "GFLOP/s"

    def quickened(self):
        return named(replace(self, t1=min(self.t1, 1024), t2=min(self.t2, 8192), bar=None))

    @property
    def sizes(self):
        return f"T1={self.t1} T2={self.t2}" if self.t1 != self.t2 else f"T={self.t1}"


@dataclass(frozen=True)
class DecodeCase(Case):
    """One new token for each of `batch` sequences out of the cache's `sequences`, every call other ones."""

    batch: int = 64
    sequences: int = 64
    kv_len: int = 16384
    page_block_size: int = 128

    @property
    def unit(self):
        return "GB/s"

    def quickened(self):
        return named(replace(self, batch=min(self.batch, 16), sequences=16, kv_len=4096, bar=None))

    @property
    def sizes(self):
        return f"B={self.batch} kv={self.kv_len}"


def named(case):
    """The case with the name that its sizes give it."""
    words = [case.operator, f"G={case.group}", case.sizes, case.selection]
    words += [case.dtype] if case.dtype != "bfloat16" else []
    words += [f"on {case.isa}"] if case.isa else []
    return replace(case, name=" ".join(words))


def _training(operator, group, bar=None, aim=None, **arguments):
    return named(TrainingCase("", operator, group, bar=Bar(bar, aim) if bar else None, **arguments))


def _decode(group, bar=None, aim=None, **arguments):
    return named(DecodeCase("", DECODE, group, bar=Bar(bar, aim) if bar else None, **arguments))


def _local_twin(case):
    return named(replace(case, selection=LOCAL, bar=None, quick=False, peers=False))


def _with_twins(cases):
    return [twin for case in cases for twin in (case, _local_twin(case))]


BAR_CASES = _with_twins(
    [
        _training(FORWARD, 16, 0.75, 0.85, quick=True, peers=True),
        _training(FORWARD, 4, 0.72, 0.82, quick=True, peers=True),
        _training(FORWARD, 1, 0.65, 0.78, quick=True, peers=True),
        _training(FORWARD, 4, 0.42, 0.60, t2=65536),
        _training(FORWARD, 4, 0.65, 0.80, dtype="float16"),
        _training(FORWARD, 16, 0.70, 0.80, dtype="float16"),
        _training(FORWARD, 4, 0.65, 0.80, dtype="float32", quick=True),
        _training(FORWARD, 16, 0.70, 0.80, dtype="float32"),
        _training(BACKWARD, 16, 0.58, 0.72),
        _training(BACKWARD, 4, 0.55, 0.72, quick=True),
        _training(BACKWARD, 1, 0.48, 0.72),
        _training(TRAINING, 4, peers=True),
        _decode(4, 0.85, 1.0, quick=True),
        _decode(16, 0.78, 1.0),
        _decode(4, 0.75, batch=1),
        _decode(16, 0.75, batch=1),
    ]
)

AVX2_CASES = [
    _training(FORWARD, 16, isa="avx2"),
    _training(FORWARD, 4, 0.55, 0.75, isa="avx2", quick=True),
    _training(FORWARD, 1, isa="avx2"),
    _training(FORWARD, 4, isa="avx2", t2=65536),
    _training(FORWARD, 4, 0.55, 0.75, isa="avx2", dtype="float32"),
    _training(BACKWARD, 16, isa="avx2"),
    _training(BACKWARD, 4, 0.55, 0.75, isa="avx2"),
    _training(BACKWARD, 1, isa="avx2"),
    _decode(4, isa="avx2"),
    _decode(16, isa="avx2"),
]

# The selection is the same size everywhere, so that time may only grow with the number of tokens.
LINEAR_CASES = [
    replace(_training(FORWARD, 4, t1=t1), series="linear") for t1 in (1024, 2048, 8192, 16384, 32768, 65536)
]
LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
LENGTH_CASES = [
    replace(_training(FORWARD, 4, t1=t, t2=t, selection=selection), series="length")
    for selection in (RANDOM, LOCAL)
    for t in LENGTHS
    if t != 4096  # already among the cases with bars
]

CASES = [*BAR_CASES, *AVX2_CASES, *LINEAR_CASES, *LENGTH_CASES]


def in_series(case, series):
    """Whether a case belongs to a series, those with bars of their own included."""
    if case.operator != FORWARD or case.group != 4 or case.dtype != "bfloat16" or case.isa:
        return False
    if series == "linear":
        return case.selection == RANDOM and case.t2 == 4096 and case.t1 >= 1024
    return case.t1 == case.t2
