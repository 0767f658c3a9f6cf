# SPDX-License-Identifier: Apache-2.0
"""The layer against the same layer with dense attention, by length: ``cd tests && python -m bench layer``.

Forward, forward with gradient, and one step of decoding; with projections ("layer") and without ("attention"). Dense
attention is this package's own kernel over all rows or PyTorch's SDPA, whichever is faster. From ``--sliced-from``
tokens on it is measured on one key head and its query heads, times the number of key heads, and "check" compares that
with all heads at the last length before. The realised share is the speed-up divided by the ratio of the FLOP. Memory is
that of one call with projections, in a process of its own, beside weights and inputs.
"""

import argparse
import functools
import itertools
import math
import pathlib
import re
import statistics
import sys
import time
from typing import NamedTuple

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
KINDS = "forward", "gradient", "decode", "decode_float32"
PROCESS_SECONDS, DECODE_SECONDS = 8, 6  # to start a process and to warm up in it; to make the layers of a decoding case
STEPS = 200


class Case(NamedTuple):
    """One line of the table."""

    kind: str
    scope: str
    length: int

    @property
    def name(self):
        return f"{self.kind} {self.scope} {self.length}"


class Failed(Exception):
    """A process that measures one call has ended without a figure."""


def cases(o):
    """All that `o` selects, short ones first."""
    found = []
    for length in sorted(o.lengths):
        for kind in o.kinds:
            scopes = ("attention", "layer") if kind in ("forward", "gradient") else ("layer",)
            found += [Case(kind, scope, length) for scope in scopes]
    before = [length for length in o.lengths if length < o.sliced_from]
    if before and max(o.lengths) >= o.sliced_from:
        found += [Case(kind, "check", max(before)) for kind in ("forward", "gradient") if kind in o.kinds]
    found += [Case("step", mode, 64) for mode in ("PyNative", "Graph") if "decode" in o.kinds]
    return [case for case in found if o.only is None or re.search(o.only, case.name)]


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(calls, o):
    """Median seconds of each, called in turn, after first calls; a first call that is long is all there is."""
    first = [seconds_of(call) for call in calls]
    samples = [[seconds] if seconds > o.long_call else [] for seconds in first]
    for _ in range(o.repeats * (1 if max(first) > 0.1 else 5)):
        for call, seconds, found in zip(calls, first, samples):
            if seconds <= o.long_call:
                found.append(seconds_of(call))
    return [statistics.median(found) for found in samples]


class Session:
    """Measures cases; dense attention of a length is measured once for both scopes."""

    def __init__(self, o, seconds_per_flop=None):
        from bench import layer_calls, layer_child, layer_sdpa
        from support.run_cells import run_mode

        self.o, self.calls, self.child, self.sdpa = o, layer_calls, layer_child, layer_sdpa
        self.run_mode = run_mode
        self.groups = o.head_num // o.group
        self.attention = functools.lru_cache(maxsize=None)(self._attention)
        self.start = time.perf_counter()
        self.seconds_per_flop = seconds_per_flop or self._probe()

    def row(self, case):
        from bench.layer_results import Row

        measured = {"step": self._step, "check": self._check}.get(case.kind if case.kind == "step" else case.scope)
        if measured is None:
            measured = self._decode if case.kind.startswith("decode") else getattr(self, "_" + case.scope + "_row")
        sparse, dense, by, *memory = measured(case)
        ratio = math.nan if measured in (self._step, self._check) else self.calls.flop_ratio(*case, self.o)
        return Row(*case, sparse, dense, by, ratio, *(memory or (math.nan, math.nan)))

    def estimate(self, case):
        """Seconds that a case takes, from the FLOP of its calls."""
        if case.kind == "step" or case.kind.startswith("decode"):
            return DECODE_SECONDS
        scope = "layer" if case.scope == "layer" else "attention"
        sparse, dense = self.calls.flop(case.kind, scope, case.length, self.o)
        processes = (1 if scope == "attention" else 2 * (not self.o.no_memory)) * PROCESS_SECONDS
        if self._is_long(case.length):  # the dense layer is timed without its attention: less than the sparse one
            dense = sparse if scope == "layer" else dense / self.groups
        once = (sparse + dense) * self.seconds_per_flop
        short = once / 2 < self.o.long_call
        times = 1 + self.o.repeats * short + (scope == "attention" or not self.o.no_memory)
        return processes + times * once

    def learn(self, case, seconds):
        """The speed of the longest case so far is that of those to come."""
        if case.scope in ("layer", "attention") and case.kind in ("forward", "gradient"):
            expected = self.estimate(case) - PROCESS_SECONDS
            if expected > PROCESS_SECONDS:
                self.seconds_per_flop *= max(0.5, min(2.0, (seconds - PROCESS_SECONDS) / expected))

    def _probe(self):
        call = self.calls.make_call("gradient", "layer", "sparse", 1024, self.o)
        call()
        return seconds_of(call) / self.calls.flop("gradient", "layer", 1024, self.o)[0]

    def _is_long(self, length):
        return length >= self.o.sliced_from

    def _made(self, case, *which):
        return [self.calls.make_call(case.kind, case.scope, each, case.length, self.o) for each in which]

    def _attention(self, kind, length):
        """Seconds of sparse attention, of our dense attention, and of the fastest dense one with its name."""
        case, groups = Case(kind, "attention", length), 1
        if self._is_long(length):
            groups = self.groups
        sparse, own = medians(self._made(case, "sparse", "slice" if groups > 1 else "dense"), self.o)
        other = self.sdpa.seconds(kind, length, self.o.head_num // groups, self.o)
        found = [(own, "ms_nsa"), *([(other, "PyTorch SDPA")] if other else [])]
        best, by = min(found)
        if groups > 1:
            by += f", 1 of {groups} groups of heads"
        return sparse, own * groups, best * groups, by

    def _attention_row(self, case):
        sparse, _, best, by = self.attention(case.kind, case.length)
        return sparse, best, by

    def _layer_row(self, case):
        _, inner, best, by = self.attention(case.kind, case.length)
        # A long dense layer is timed with tokens that see only themselves; so is the attention inside it.
        which = "rest" if self._is_long(case.length) else "dense"
        sparse, dense = medians(self._made(case, "sparse", which), self.o)
        if which == "rest":
            (inner,) = medians(self._made(case._replace(scope="attention"), which), self.o)
        return sparse, dense - inner + best, by, *([] if self.o.no_memory else self._memory(case, "sparse", which))

    def _memory(self, case, *which):
        """Megabytes of one call of each, in a process of its own."""
        found = [self.child.in_fresh_process(case.kind, case.scope, each, case.length, self.o) for each in which]
        for each, name in zip(found, which):
            if "failure" in each:
                raise Failed(f"{case.name} {name}: {each['failure']}")
        return [each["extra_bytes"] / 2**20 for each in found]

    def _decode(self, case):
        """In Graph mode, as text is generated; rows "step" say what PyNative mode adds."""
        with self.run_mode("graph"):
            return *medians(self._made(case, "sparse", "dense"), self.o), "ms_nsa"

    def _check(self, case):
        """Dense attention by one group of heads, and by all."""
        own = self.attention(case.kind, case.length)[1]
        (sliced,) = medians(self._made(case._replace(scope="attention"), "slice"), self.o)
        return sliced * self.groups, own, "ms_nsa"

    def _step(self, case):
        """A step of decoding whose kernels have next to nothing to do: what a step costs above its kernels."""
        small = {"head_num": 1, "group": 1, "head_dim": 16, "hidden_size": 16, "batch": 1}
        o = argparse.Namespace(**{**vars(self.o), **small})
        with self.run_mode(case.scope.lower()):
            calls = [self.calls.decode_call("decode", which, case.length, o) for which in ("sparse", "dense")]
            for call in calls:
                call()
            samples = [[seconds_of(call) for _ in range(STEPS)] for call in calls]
        return *map(statistics.median, samples), "ms_nsa"


def run(chosen, o):
    """Rows of the cases and whether all were measured; each is printed when it is there."""
    from bench import layer_results

    session, rows, whole = Session(o), [], True
    print(f"about {sum(map(session.estimate, chosen)) / 60:.0f} minutes, at most {o.minutes:g}")
    print(" ".join(f"{name:>10}" for name in layer_results.COLUMNS))
    for case in chosen:
        start = time.perf_counter()
        if start - session.start + session.estimate(case) > 60 * o.minutes:
            print(f"{case.name}: left out, it would take longer than --minutes allows", flush=True)
            whole = False
            continue
        try:
            rows.append(session.row(case))
        except Failed as failed:
            print(f"no figure for {failed}", flush=True)
            whole = False
            continue
        session.learn(case, time.perf_counter() - start)
        print(" ".join(f"{value!s:>10}" for value in rows[-1].values()), flush=True)
    print(f"took {(time.perf_counter() - session.start) / 60:.1f} minutes")
    return rows, whole


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m bench layer", description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024 << step for step in range(7)])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name this regular expression finds")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--head-num", type=int, default=16)
    parser.add_argument("--group", type=int, default=4, help="query heads of a key head")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--hidden-size", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=8, help="sequences of decoding")
    parser.add_argument("--dtype", default="bfloat16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sliced-from", type=int, default=32768, metavar="TOKENS", help="dense on a part of the heads")
    parser.add_argument("--long-call", type=float, default=10, metavar="SECONDS", help="longer calls are timed once")
    parser.add_argument("--minutes", type=float, default=25, help="cases that would take longer are left out")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of calls")
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="the Python that has PyTorch")
    parser.add_argument("--output", type=pathlib.Path, help="folder of CSV and PNG; default tests/bench/results")
    return parser.parse_args(arguments)


def is_whole(o):
    """Whether the cases and sizes are those of the figures in the repository."""
    usual = vars(parse([]))
    free = "output", "torch", "minutes", "repeats", "list"
    return all(value == usual[name] for name, value in vars(o).items() if name not in free)


def main(arguments=None):
    o = parse(arguments)
    chosen = cases(o)
    if o.list:
        print("\n".join(case.name for case in chosen))
        return 0
    from bench import layer_results

    rows, whole = run(chosen, o)
    for kind, scope in itertools.product(KINDS, ("layer", "attention")):
        if any((row.kind, row.scope) == (kind, scope) for row in rows):
            print(f"{kind}, {scope}: faster than dense from {layer_results.break_even(rows, kind, scope)} tokens on")
    output = o.output or (RESULTS if whole and is_whole(o) else None)
    if output:
        layer_results.write(rows, output)
    print(layer_results.markdown(rows))
    return 0 if whole else 1
