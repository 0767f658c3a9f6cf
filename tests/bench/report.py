# SPDX-License-Identifier: Apache-2.0
"""What a run prints, and its CSV file."""

import csv

from bench import peaks
from bench.cases import DECODE

_PERCENTILES = (20, 50, 80)


def _verdict(found):
    return {None: "", True: "holds", False: "MISSES"}[found.holds]


def _time(seconds):
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _peers(result):
    return ", ".join(f"{name} {result.gflops / gflops:.1f}x" for name, gflops in result.peers.items())


def result_line(result):
    """A case as it is measured; a red one has no speed."""
    name = f"{result.case.name:<42}"
    if result.failure:
        return f"{name} WRONG RESULT, no speed: {result.failure.splitlines()[0]}"
    if result.timing is None:
        return f"{name} not run: {result.note}"
    times = " / ".join(_time(result.seconds(percent)) for percent in _PERCENTILES)
    bar = f"bar {result.case.bar.fraction:.0%} {_verdict(result)}" if result.case.bar else ""
    notes = [result.note] if result.note else []
    if result.overhead:
        notes.append(f"less the bare call's {_time(result.overhead)}")
    rate = f"{result.rate:8.1f} {result.case.unit:<7} {result.fraction:6.1%} of {result.peak_name}"
    return f"{name} {times:<28} {rate:<42} {bar:<16} {'; '.join(notes)}".rstrip()


def check_line(check):
    if check.failure:
        return f"{check.name:<60} WRONG RESULT, no figure: {check.failure.splitlines()[0]}"
    limit = ""
    if check.limit is not None:
        limit = f"{'at least' if check.at_least else 'at most'} {check.limit:.4g} {_verdict(check)}"
    return f"{check.name:<60} {check.value:9.4g} {check.unit:<3} {limit:<24} {check.note}".rstrip()


def header(environment):
    """The lines that every figure is read with."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    supported = ", ".join(environment.supported_isas)
    return [
        f"machine   {environment.machine}",
        f"versions  {versions}",
        f"ISA       {environment.isa} (this machine runs {supported}), {environment.threads} threads",
        f"date      {environment.date}",
    ]


def peak_lines(run):
    """Median and range of every peak's samples over the whole run."""
    lines = []
    for name, samples in run.peaks.items():
        if samples:
            ordered = sorted(samples)
            spread = f"{ordered[0]:.1f} to {ordered[-1]:.1f}"
            middle = ordered[len(ordered) // 2]
            lines.append(f"peak      {name:<18} {middle:8.1f} {peaks.UNITS[name]} (of {len(ordered)}: {spread})")
    return lines


def peer_lines(run):
    """Ratio of our GFLOP/s of selected work to each peer's."""
    lines = []
    for result in run.results:
        for name, gflops in result.peers.items():
            ratio = result.gflops / gflops
            lines.append(f"{result.case.name:<42} {ratio:7.1f} times {name} ({gflops:.1f} GFLOP/s)")
    return lines


_COLUMNS = (
    "date", "machine", "versions", "isa", "threads", "name", "operator", "dtype", "selection", "group", "tokens",
    "rows", "repeats", "flop", "bytes", "p20_s", "p50_s", "p80_s", "overhead_s", "value", "unit", "peak", "peak_value",
    "fraction", "bar", "aim", "holds", "peers", "note",
)  # fmt: skip


def _result_row(result):
    case = result.case
    row = {
        "isa": result.isa, "name": case.name, "operator": case.operator, "dtype": case.dtype,
        "selection": case.selection, "group": case.group, "holds": _verdict(result),
        "tokens": case.batch if case.operator == DECODE else case.t1,
        "rows": case.kv_len if case.operator == DECODE else case.t2,
        "note": f"WRONG RESULT: {result.failure}" if result.failure else result.note,
    }  # fmt: skip
    if case.bar:
        row |= {"bar": case.bar.fraction, "aim": case.bar.aim}
    if result.timing is None:
        return row
    seconds = {f"p{percent}_s": f"{result.seconds(percent):.6g}" for percent in _PERCENTILES}
    return {
        **row, **seconds, "repeats": len(result.timing.seconds), "flop": result.flop, "bytes": result.bytes,
        "overhead_s": f"{result.overhead:.6g}", "value": f"{result.rate:.6g}", "unit": case.unit,
        "peak": result.peak_name, "peak_value": f"{result.peak:.6g}", "fraction": f"{result.fraction:.4f}",
        "peers": _peers(result),
    }  # fmt: skip


def _check_row(check):
    return {
        "name": check.name, "value": "" if check.failure else f"{check.value:.6g}", "unit": check.unit,
        "bar": check.limit, "holds": _verdict(check), "note": check.failure or check.note,
    }  # fmt: skip


def _dense_rows(run):
    for causal, points in run.dense.items():
        for length, seconds in points:
            selection = "causal" if causal else "all rows"
            row = {"name": f"{run.dense_name} T={length}", "operator": "dense", "selection": selection}
            yield {**row, "tokens": length, "rows": length, "p50_s": f"{seconds:.6g}"}


def _peak_rows(run):
    for line, (name, samples) in zip(peak_lines(run), ((n, s) for n, s in run.peaks.items() if s)):
        value = sorted(samples)[len(samples) // 2]
        yield {
            "name": f"peak {name}",
            "value": f"{value:.6g}",
            "unit": peaks.UNITS[name],
            "note": line.split("(")[1][:-1],
        }


def write_csv(run, folder):
    """Writes <machine>.csv and returns its path; every line carries the machine and the versions."""
    environment = run.environment
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "date": environment.date, "machine": environment.machine, "isa": environment.isa,
        "versions": " ".join(f"{name}={version}" for name, version in environment.versions.items()),
        "threads": environment.threads,
    }  # fmt: skip
    rows = [_result_row(result) for result in run.results] + [_check_row(check) for check in run.checks]
    path = folder / f"{environment.slug}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for row in [*rows, *_dense_rows(run), *_peak_rows(run)]:
            writer.writerow({**common, **row})
    return path
