# SPDX-License-Identifier: Apache-2.0
"""A run from the machine line to the files: cases, limits, peers, CSV and pictures."""

from bench import machine, peers, pictures, report, work
from bench.cases import FORWARD, LOCAL, RANDOM, TRAINING
from bench.results import Check
from bench.run import Bench

# How many times the best PyTorch way ours must be, forward and forward with backward, at G=4.
PEER_RATIO = 18
_WHOLE_STEPS = 13  # three small calls, six of memory, three of threads, linearity


def run(cases, repeats, output=None, whole=False, with_peers=False):
    """Measures the cases, and with `whole` the limits too; returns the exit code.

    Args:
        cases (list): cases to measure.
        repeats (int): samples a case.
        output (Path): folder for CSV and pictures; None writes none.
        whole (bool): also measure small calls, memory, threads and linearity.
        with_peers (bool): also measure what other libraries do.
    """
    bench = Bench(repeats, len(cases) + whole * _WHOLE_STEPS)
    _say_environment(bench)
    bench.sample_peaks()
    for case in cases:
        bench.case(case)
    if whole:
        bench.small_calls()
        bench.extra_memory()
        bench.threads()
    bench.linearity()
    if with_peers:
        _measure_peers(bench, dense=whole)
    bench.sample_peaks()
    bench.bar.close()
    _finish(bench.run, output)
    return 1 if bench.run.failures else 0


def _say_environment(bench):
    for line in report.header(bench.run.environment):
        bench.say(line)
    warning = machine.busy_warning()
    if warning:
        bench.say(f"warning   {warning}")


def _measure_peers(bench, dense):
    for result in bench.run.results:
        if result.case.peers and result.timing:
            for library in peers.installed():
                _measure_library(bench, result, library)
            _check_ratio(bench, result)
    if dense:
        _measure_dense(bench)


def _measure_library(bench, result, library):
    bench.bar.set_description(f"{library}, {result.case.name}")
    count = peers.tokens(result.case, library)
    few = f", first {count} tokens" if count < result.case.t1 else ""
    for line in peers.run_in_fresh_process("selected", library, bench.machine.threads, result.case):
        if "failure" in line:
            bench.say(f"{result.case.name:<42} {line['name']} not measured: {line['failure']}")
        else:
            result.peers[line["name"] + few] = line["gflops"]


def _check_ratio(bench, result):
    """The bar of the issue is against the best PyTorch way, at G=4."""
    torch = [gflops for name, gflops in result.peers.items() if name.startswith("PyTorch")]
    if torch:
        limit = PEER_RATIO if result.case.group == 4 and result.case.operator in (FORWARD, TRAINING) else None
        ratio = result.gflops / max(torch)
        bench.check(Check(f"times the best PyTorch way, {result.case.name}", ratio, "x", limit, at_least=True))


def _measure_dense(bench):
    """Dense attention over lengths, of PyTorch where it is installed."""
    library = peers.installed()[0]
    for causal in (False, True)[: 2 if library == "torch" else 1]:
        bench.bar.set_description(f"dense attention of {library}")
        lines = peers.run_in_fresh_process("dense", library, bench.machine.threads, causal=causal)
        bench.run.dense[causal] = [(line["t"], line["seconds"]) for line in lines if "failure" not in line]
        for line in lines:
            if "failure" in line:
                bench.say(f"dense attention of {line['name']} not measured: {line['failure']}")
            else:
                bench.run.dense_name = line["name"].split(",")[0]


def _finish(run, output):
    lines = ["", *report.peak_lines(run), *report.peer_lines(run)]
    found = [*run.results, *run.checks]
    judged = [item.holds for item in found if item.holds is not None]
    lines.append(f"{sum(judged)} of {len(judged)} bars hold" if judged else "no bar is judged at these sizes")
    lines += [f"WRONG RESULT {failure.splitlines()[0]}" for failure in run.failures]
    lines += _break_even_lines(run)
    if output:
        written = [report.write_csv(run, output), *pictures.draw(run, output)]
        lines += [f"wrote {path.name}" for path in written]
    print("\n".join(lines))


def _break_even_lines(run):
    """From which length on selected attention is faster than dense attention."""
    for selection, causal in ((RANDOM, False), (LOCAL, True)):
        ours, dense = pictures.lengths_of(run, selection), run.dense.get(causal)
        if ours and dense:
            length = work.break_even(ours, dense)
            longest = max(t for t, _ in dense)
            found = f"from T = {length:.0f} on" if length else f"nowhere or everywhere up to T = {longest}"
            yield f"selected ({selection}) is faster than {run.dense_name}{', causal,' if causal else ''} {found}"
