# SPDX-License-Identifier: Apache-2.0
"""What a run finds: a Result for each case, a Check for each limit, and the environment they belong to."""

from dataclasses import dataclass, field
from typing import Optional

from bench import measure, peaks, work
from bench.cases import DECODE


@dataclass
class Result:
    """One case: its timing, or the failure that forbids one."""

    case: object
    isa: str
    threads: int
    selected_rows: int = 0
    timing: Optional[measure.Timing] = None
    overhead: float = 0.0  # seconds of a bare call, left out of the comparison with the row loop
    failure: str = ""
    note: str = ""
    peers: dict = field(default_factory=dict)  # name -> GFLOP/s of selected work

    @property
    def flop(self):
        return work.flop(self.case, self.selected_rows)

    @property
    def bytes(self):
        return work.gather_bytes(self.case, self.selected_rows)

    def seconds(self, percent=50):
        return self.timing.percentile(percent)

    @property
    def _amount(self):
        """What the rate counts, in units of 1e9."""
        decode = self.case.operator == DECODE
        return (work.row_bytes(self.case, self.selected_rows) if decode else self.flop) / 1e9

    @property
    def rate(self):
        """GFLOP/s of selected work, or GB/s of selected rows."""
        return self._amount / (self.seconds() - self.overhead)

    @property
    def gflops(self):
        return self.flop / self.seconds() / 1e9

    @property
    def peak_name(self):
        return measure.peak_of(self.case, self.isa)

    @property
    def peak(self):
        """The peak between this case's calls, in the unit of the rate.

        Of the row loop the median, as of the calls; of arithmetic the best: a disturbed one would flatter the kernel.
        """
        if self.peak_name == peaks.ROW_LOADS:
            return self._amount / measure.median(self.timing.peak)
        return max(self.timing.peak)

    @property
    def fraction(self):
        return self.rate / self.peak

    @property
    def holds(self):
        """Whether the bar holds; None without a bar or on another instruction set than it was set for."""
        if self.case.bar is None or self.timing is None or self.isa != self.case.bar_isa:
            return None
        return self.fraction >= self.case.bar.fraction


@dataclass
class Check:
    """A figure against a limit that is not a fraction of a peak."""

    name: str
    value: float
    unit: str
    limit: Optional[float] = None
    at_least: bool = False  # else the limit is the largest value allowed
    note: str = ""
    failure: str = ""

    @property
    def holds(self):
        if self.limit is None or self.failure:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Environment:
    """Where and with what the figures were measured."""

    machine: str
    versions: dict
    isa: str
    supported_isas: list
    threads: int
    date: str
    slug: str


@dataclass
class Run:
    """Everything a run found, in order."""

    environment: Environment
    results: list = field(default_factory=list)
    checks: list = field(default_factory=list)
    peaks: dict = field(default_factory=dict)  # name -> samples
    dense: dict = field(default_factory=dict)  # causal or not -> list of (T, seconds) of dense attention
    dense_name: str = ""

    @property
    def failures(self):
        return [f"{found.name}: {found.failure}" for found in self._all() if found.failure]

    def _all(self):
        yield from self.checks
        for result in self.results:
            yield Check(result.case.name, 0, "", failure=result.failure)

    def of(self, name):
        """The result of the case of that name, if it was measured."""
        for result in self.results:
            if result.case.name == name and result.timing:
                return result
        return None
