# SPDX-License-Identifier: Apache-2.0
"""Times a case: calls and samples of its peak in turn, so that both meet the same machine."""

import statistics
import time
from dataclasses import dataclass, field

from bench import peaks
from bench.cases import DECODE
from bench.operators import await_result

_SETTLE_SECONDS = 0.005  # lets the threads of the operator stop spinning before a peak is sampled
_SHORT_CALL_SECONDS = 0.02  # shorter calls are timed in rows of calls: a wake-up is not part of them
_ROW_SECONDS = 0.05
_MAX_ROW = 64
_NEAR_BEST = 0.9  # a peak below that part of the best shows other work on the machine
_TRIES = 3
PREFETCH_DISTANCES = (0, 1, 2)  # in selected blocks


@dataclass
class Timing:
    """Seconds of the calls, and samples of the peak taken between them: GFLOP/s, or seconds of the row loop."""

    seconds: list = field(default_factory=list)
    peak: list = field(default_factory=list)
    disturbed: bool = False

    def percentile(self, percent):
        return percentile(self.seconds, percent)


def percentile(samples, percent):
    """Linear interpolation between the two nearest samples."""
    ordered = sorted(samples)
    position = percent / 100 * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def seconds_of(call):
    """Seconds of one call, its result awaited."""
    start = time.perf_counter()
    await_result(call())
    return time.perf_counter() - start


def calls_in_a_row(call):
    """How many calls make a sample: one long call, or a row of short ones."""
    seconds = min(seconds_of(call) for _ in range(3))
    return 1 if seconds >= _SHORT_CALL_SECONDS else min(_MAX_ROW, max(1, round(_ROW_SECONDS / seconds)))


def interleave(call, sample_peak, repeats, tick=lambda: None):
    """`repeats` times a sample of the peak and then calls in a row, each timed."""
    timing, row = Timing(), calls_in_a_row(call)
    for _ in range(repeats):
        time.sleep(_SETTLE_SECONDS)
        timing.peak.extend(sample_peak(row))
        timing.seconds.extend(seconds_of(call) for _ in range(row))
        tick()
    return timing


def undisturbed(call, sample_peak, repeats, tick=lambda: None):
    """The same of calls whose neighbouring samples of the peak are both near the best.

    It makes up to _TRIES times `repeats` of them to find so many; if there are fewer, all count.
    """
    calls, row, peak = [], calls_in_a_row(call), [sample_peak()]
    kept = []
    while len(calls) < _TRIES * repeats and len(kept) < repeats:
        calls.append([seconds_of(call) for _ in range(row)])
        time.sleep(_SETTLE_SECONDS)
        peak.append(sample_peak())
        kept = [i for i in range(len(calls)) if min(peak[i : i + 2]) >= _NEAR_BEST * max(peak)]
        tick()
    counting = kept if len(kept) >= repeats else range(len(calls))
    seconds = [second for i in counting for second in calls[i]]
    return Timing(seconds, [max(peak)], len(kept) < repeats)


def arithmetic_sampler(machine, name):
    """Samples a multiply-add peak once, however many calls follow, and gives the best sample of the run until then."""

    def sample(_row):
        machine.sample(name)
        return [max(machine.samples[name])]

    return sample


def best_distance(seconds):
    """The prefetch distance that serves this machine best, given the seconds of a row loop by its distance."""
    return min(PREFETCH_DISTANCES, key=lambda ahead: median([seconds(ahead) for _ in range(5)]))


class RowLoadSampler:
    """Samples the row loop over the calls' rows, half a turn away from those the operator reads next.

    Both go round the same prepared calls: rows that one has just read would be in the other's cache. The loop runs at
    the prefetch distance that serves this machine best.
    """

    def __init__(self, machine, case, made):
        self._machine, self._case, self._made = machine, case, made
        self._next = len(made.calls) // 2
        self._ahead = best_distance(self._seconds)

    def __call__(self, row):
        return [self._seconds(self._ahead) for _ in range(row)]

    def _seconds(self, ahead):
        call = self._made.calls[self._next % len(self._made.calls)]
        self._next += 1
        return self._machine.row_loads(self._case, self._made, call, ahead)


def peak_of(case, isa):
    """Name of the peak that a case is held against."""
    return peaks.ROW_LOADS if case.operator == DECODE else peaks.arithmetic_peak(isa, case.dtype)


def time_case(machine, case, made, call, isa, repeats):
    """The case's Timing; cases with a bar are guarded against what else the machine does, as far as that shows."""
    if case.operator == DECODE:
        return interleave(call, RowLoadSampler(machine, case, made), repeats)
    best = arithmetic_sampler(machine, peak_of(case, isa))
    if case.bar is None:
        return interleave(call, best, repeats)
    timing = undisturbed(call, lambda: machine.sample(peak_of(case, isa)), repeats)
    timing.peak = best(1)
    return timing


def median(samples):
    return statistics.median(samples)
