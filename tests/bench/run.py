# SPDX-License-Identifier: Apache-2.0
"""Runs cases: correctness, then speed and peak in turn, then the limits that are not fractions of a peak."""

import datetime

import numpy as np
from tqdm import tqdm

from bench import calls, gate, inputs, machine, measure, memory, operators, peaks, report, single, work
from bench.cases import DECODE, in_series
from bench.results import Check, Environment, Result, Run
from ms_nsa import backend

# T1 grows 64-fold: time ~ T1 ** exponent.
LINEAR_EXPONENT = 1.05
THREAD_SCALING = 1.85


def environment():
    """Where this process runs, as it is now."""
    isa, threads = backend.current_isa(), backend.threads()
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return Environment(
        machine.machine_line(), machine.versions(), isa, backend.supported_isas(), threads, date,
        machine.file_slug(isa, threads),
    )  # fmt: skip


class Bench:
    """One run over some cases; prints as it goes."""

    def __init__(self, repeats, steps):
        self.run = Run(environment())
        self.repeats = repeats
        self.machine = peaks.Peaks(self.run.environment.threads, self.run.environment.supported_isas)
        self.run.peaks = self.machine.samples
        self.bar = tqdm(total=steps, file=machine.progress_stream(), unit="step", disable=None)

    def say(self, line):
        self.bar.write(line)

    def sample_peaks(self, times=3):
        """Every peak of the machine, apart from what the cases sample between their calls."""
        for _ in range(times):
            for name in self.machine.names:
                self.machine.sample(name)

    def case(self, case):
        """Measures a case and keeps its result; a wrong result keeps its sentence and no speed."""
        self.bar.set_description(case.name)
        if case.isa and case.isa not in self.run.environment.supported_isas:
            result = Result(case, case.isa, self.machine.threads, note=f"this machine has no {case.isa}")
        else:
            result = self._measured(case)
        self.run.results.append(result)
        self.say(report.result_line(result))
        self.bar.update()

    def _measured(self, case):
        made = inputs.make(case)
        with operators.forced_isa(case.isa) as isa:
            call = operators.make_call(case, made)
            rows = work.selected_rows(case, inputs.topk_of_call(case, made))
            result = Result(case, isa, self.machine.threads, rows, note=_isa_note(case, isa))
            try:
                gate.check_operator(case, made, call, operators.as_arrays)
                self._time(result, made, call)
            except gate.WrongResult as error:
                result.timing, result.failure = None, str(error)
        return result

    def _time(self, result, made, call):
        """Times the case and looks whether a timed call returns what the gate has seen."""
        before = _bits(call, result.case)
        result.timing = measure.time_case(self.machine, result.case, made, call, result.isa, self.repeats)
        if result.timing.disturbed:
            result.note = "; ".join(filter(None, [result.note, "the machine did other work meanwhile"]))
        if result.case.operator == DECODE and result.case.batch == 1:
            row_loads = measure.RowLoadSampler(self.machine, result.case, made)
            bare = calls.seconds_after(lambda: row_loads(1), calls.bare_decode(call), self.repeats)
            # A machine busy with other work may show a bare call longer than ours.
            result.overhead = min(bare, result.seconds() / 2)
        if _bits(call, result.case) != before:
            raise gate.WrongResult("the same call returned other bits")

    def check(self, check):
        self.run.checks.append(check)
        self.say(report.check_line(check))
        self.bar.update()

    def small_calls(self):
        """What the smallest calls cost above a custom operator that does nothing."""
        for case in calls.SMALL_CASES:
            made, call, bare = calls.small_call(case)
            limit = calls.LIMITS.get(case.name)
            check = Check(f"{case.name}, above a bare call", 0, "us", limit and limit * 1e6)
            try:
                gate.check_operator(case, made, call, operators.as_arrays)
                above, nothing = calls.seconds_above(call, bare, self.repeats)
                check.value, check.note = above * 1e6, f"bare call {nothing * 1e6:.1f} us"
            except gate.WrongResult as error:
                check.failure = str(error)
            self.check(check)

    def extra_memory(self):
        """Resident peak of fresh processes against the formula."""
        for case in memory.memory_cases():
            allowed = memory.limit_bytes(case, self.machine.threads) / 1e6
            extra = memory.extra_in_fresh_process(case) / 1e6
            self.check(Check(f"extra {case.name}", extra, "MB", allowed))

    def threads(self):
        """One thread in a fresh process against all threads of this one."""
        for name in single.THREAD_CASES:
            result = self.run.of(name)
            if result is None:
                continue
            alone = single.seconds_in_fresh_process(name, 1, result.isa, self.repeats)
            speedup = measure.median(alone) / result.seconds()
            limit = None if result.case.operator == DECODE else THREAD_SCALING
            note = f"1 thread {measure.median(alone) * 1e3:.1f} ms"
            self.check(Check(f"1 to {self.machine.threads} threads, {name}", speedup, "x", limit, True, note))

    def linearity(self):
        """Exponent of time over T1 at a fixed selection; 1 is linear."""
        found = [result for result in self.run.results if in_series(result.case, "linear") and result.timing]
        if len(found) < 3:
            return
        t1, seconds = [result.case.t1 for result in found], [result.seconds() for result in found]
        exponent = float(np.polyfit(np.log(t1), np.log(seconds), 1)[0])
        per_token = [s / t * 1e6 for s, t in sorted(zip(seconds, t1), key=lambda pair: pair[1])]
        note = f"{per_token[0]:.2f} to {per_token[-1]:.2f} us a token from T1={min(t1)} to {max(t1)}"
        self.check(Check("exponent of time over T1", exponent, "", LINEAR_EXPONENT, note=note))


def _isa_note(case, isa):
    return f"the bar is for {case.bar_isa}" if case.bar and isa != case.bar_isa else ""


def _bits(call, case):
    """The first output of a call as bytes: of the first prepared call where they take turns."""
    result = call.run(0) if case.operator == DECODE else call()
    return operators.as_arrays(result)[0].tobytes()
