# SPDX-License-Identifier: Apache-2.0
"""Every mutant reports its rule at its line, its correct version nothing; together they show every rule, every pair
of pipes that can meet on the same bytes, every buffer and both directions between cores."""

import functools
import re

import numpy as np
import pytest

from twin import faults, twin


def tiling(fault):
    return np.array([fault, 0], np.uint32)


def floats(count, seed):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def hazard_vector(fault):
    return [floats(512, fault), twin.output(512, np.float32), None, tiling(fault)], {}


def hazard_cube(fault):
    return [floats(256, fault).astype(np.float16), twin.output(256, np.float32), None, tiling(fault)], {}


def operands_vector(fault):
    return [floats(512, fault), twin.output(512, np.float32), None, tiling(fault)], {}


def operands_cube(fault):
    return [floats(1024, fault).astype(np.float16), twin.output(1024, np.float32), None, tiling(fault)], {}


buffers = operands_cube


def vector(fault):
    arguments = [floats(1024, fault), floats(1024, fault + 1), twin.output(1024, np.float32), None]
    return [*arguments, np.array([fault, 1024], np.uint32)], {"block_dim": 2}


def queue(fault):
    return [floats(256, fault), twin.output(256, np.float32), None, tiling(fault)], {}


def cross(fault):
    blocks = 21 if fault == 19 else 2
    arguments = [
        floats(1024, fault).astype(np.float16),
        twin.output(2 * blocks * 512, np.float32),
        twin.workspace(blocks * 1024 * 6),
        tiling(fault),
    ]
    return arguments, {"block_dim": blocks}


def memory(fault):
    blocks = 41 if fault == 3 else 3
    arguments = [
        floats(blocks * 64, fault),
        twin.output((blocks + 1) * 64, np.float32),
        twin.workspace((blocks * 4 + 2) * 256 + 4096),
        tiling(fault),
    ]
    return arguments, {"block_dim": blocks}


def memory_software(fault):
    blocks = 3
    nbytes = (blocks * 4 + 2) * 256 + 4096
    zeroed = twin.Argument(np.zeros(nbytes, np.uint8), "inout", "workspace")
    arguments = [
        floats(blocks * 64, fault),
        twin.output((blocks + 1) * 64, np.float32),
        twin.workspace(nbytes) if fault == 22 else zeroed,
        tiling(fault),
    ]
    options = {"block_dim": blocks, "reserved_workspace": 0}
    return arguments, {**options, "task_type": "MIX_AIV_1_0"} if fault == 21 else options


SOFTWARE = {0, *range(15, 23)}
# source, entry, arguments, the faults that this entry runs (None: all), halves to compile
ENTRIES = [
    ("faults_vector", "faults_vector", vector, None, ["vector"]),
    ("faults_hazard_vector", "faults_hazard_vector", hazard_vector, None, ["vector"]),
    ("faults_hazard_cube", "faults_hazard_cube", hazard_cube, None, ["cube"]),
    ("faults_operands_vector", "faults_operands_vector", operands_vector, None, ["vector"]),
    ("faults_operands_cube", "faults_operands_cube", operands_cube, None, ["cube"]),
    ("faults_buffers", "faults_buffers", buffers, None, ["cube"]),
    ("faults_queue", "faults_queue", queue, None, ["vector"]),
    ("faults_cross", "faults_cross", cross, None, ["cube", "vector"]),
    ("faults_memory", "faults_memory", memory, set(range(15)), ["vector"]),
    ("faults_memory", "faults_memory_software", memory_software, SOFTWARE, ["vector"]),
]
CASES = {
    (entry, fault): (stem, arguments, halves)
    for stem, entry, arguments, wanted, halves in ENTRIES
    for fault in faults.cases(stem)
    if wanted is None or fault in wanted
}
CORRECT = [entry for entry, fault in CASES if fault == 0]


@functools.cache
def kernel_of(stem, halves):
    return twin.compile_kernel(faults.KERNELS / f"{stem}.cpp", halves=halves)


def launch(entry, fault, **options):
    stem, arguments, halves = CASES[entry, fault]
    bound, more = arguments(fault)
    return kernel_of(stem, tuple(halves)).launch(entry, bound, timing=False, **more, **options)


@functools.cache
def reports_of(entry, fault):
    return launch(entry, fault, raise_reports=False).reports


def all_reports(*entries):
    return [r for entry, fault in CASES if not entries or entry in entries for r in reports_of(entry, fault)]


@pytest.mark.parametrize("entry,fault", CASES, ids=[f"{entry}-{fault}" for entry, fault in CASES])
def test_fault(entry, fault):
    faults.check(CASES[entry, fault][0], fault, reports_of(entry, fault))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("entry", CORRECT)
def test_correct_kernel_under_any_schedule(entry, seed):
    assert not launch(entry, 0, seed=seed, preempt=4).reports


def test_deadlock_names_who_waits_for_what():
    (report,) = reports_of("faults_cross", 15)
    source = faults.KERNELS / "faults_cross.cpp"
    lines = [n for n, text in enumerate(source.read_text().splitlines(), 1) if "WaitFlag(kPair)" in text]
    for core in ("AIC0", "AIV0.0", "AIV0.1", "AIC1", "AIV1.0", "AIV1.1"):
        line = lines[0] if core.startswith("AIC") else lines[1]
        assert f"{core} waits for CrossCoreWaitFlag(4) ({source}:{line})" in report.message


def test_a_report_names_its_place():
    """Kernel, core, pipe, instruction, file and line, bytes; and the same of the other side of a conflict."""
    lines = (faults.KERNELS / "faults_hazard_vector.cpp").read_text().splitlines()
    (report,) = reports_of("faults_hazard_vector", 1)
    assert (report.rule, report.kernel, report.core) == ("hazard_raw", "faults_hazard_vector", "AIV0.0")
    assert (report.pipe, report.index, report.api) == ("V", 1, "Adds")
    assert report.file.endswith("faults_hazard_vector.cpp") and "fault 1: hazard_raw" in lines[report.line - 1]
    assert (report.memory, report.begin, report.count) == ("UB", 0, report.end and 256 * 4 // report.end)
    assert (report.other["core"], report.other["pipe"], report.other["index"]) == ("AIV0.0", "MTE2", 0)
    assert lines[report.other["line"] - 1].strip() == "DataCopy(a_, x_, kTile);"


def test_fast_mode_checks_bounds_only():
    assert not launch("faults_hazard_vector", 1, checks=False).reports
    (report,) = launch("faults_operands_vector", 1, checks=False, raise_reports=False).reports
    assert report.rule == "bounds"


def test_every_rule_has_a_mutant():
    shown = {r.rule for r in all_reports()}
    assert shown == set(faults.rules())


def test_every_mutant_runs():
    """Marked in a source, and launched."""
    marked = {(path.stem, fault) for path in faults.KERNELS.glob("faults_*.cpp") for fault in faults.cases(path.stem)}
    assert marked == {(case[0], fault) for (_, fault), case in CASES.items()}


# What the pipes of a core read and write. L0 is L0A and L0B; FB is the fixpipe buffer.
CUBE = {
    "MTE1": ({"L1"}, {"L0", "BT"}),
    "MTE2": ({"GM"}, {"L1", "L0"}),
    "MTE3": ({"L1"}, {"GM"}),
    "M": ({"L0", "BT", "L0C"}, {"L0C"}),
    "FIX": ({"L0C", "L1"}, {"GM", "L1", "FB"}),
    "S": ({"GM"}, {"GM"}),
}
VECTOR = {
    "MTE2": ({"GM"}, {"UB"}),
    "MTE3": ({"UB"}, {"GM"}),
    "V": ({"UB"}, {"UB"}),
    "S": ({"UB", "GM"}, {"UB", "GM"}),
}


def pairs_that_can_race(pipes):
    """{(first pipe, second pipe, kind, memory)}. The scalar unit runs in order, and what it writes to GM is
    ordered by the DataCacheCleanAndInvalid that must follow. Mmad reads only what of L0C it writes: waw."""
    pairs = set()
    for first, (reads, writes) in pipes.items():
        for second, (reads_too, writes_too) in pipes.items():
            if first == second == "S":
                continue
            pairs |= {(first, second, "raw", m) for m in writes & reads_too}
            pairs |= {(first, second, "war", m) for m in reads & writes_too}
            pairs |= {(first, second, "waw", m) for m in writes & writes_too}
    in_order = {p for p in pairs if p[0] == "S" and p[2] != "war" and p[3] == "GM"}
    return pairs - in_order - {("M", "M", "war", "L0C")}


def pairs_shown(entry):
    kinds = {"read": "raw", "overwrite": "war", "write": "waw"}
    shown = set()
    for report in all_reports(entry):
        kind = re.search(r" (read|overwrite|write) of \w+ \[", report.message)
        if report.other and kind:
            memory = "L0" if report.memory in ("L0A", "L0B") else report.memory
            shown.add((report.other["pipe"], report.pipe, kinds[kind[1]], memory))
    return shown


@pytest.mark.parametrize("entry,pipes", [("faults_hazard_cube", CUBE), ("faults_hazard_vector", VECTOR)])
def test_every_pair_of_pipes_has_a_mutant(entry, pipes):
    assert pairs_shown(entry) == pairs_that_can_race(pipes)


BUFFERS = {"UB", "L1", "L0A", "L0B", "L0C", "BT", "FB"}


@pytest.mark.parametrize(
    "rule,memories",
    [
        ("capacity", BUFFERS),
        ("alignment", BUFFERS),
        ("bounds", BUFFERS | {"GM"}),
        ("uninitialised", BUFFERS - {"FB"} | {"GM"}),
    ],
)
def test_every_buffer_has_a_mutant(rule, memories):
    """No supported call reads the fixpipe buffer."""
    messages = [r.message for r in all_reports() if r.rule == rule]
    assert memories <= {m for text in messages for m in re.findall(r"\b(?:UB|L1|L0A|L0B|L0C|BT|FB|GM)\b", text)}


def test_both_directions_between_cores_have_mutants():
    races = [r for r in all_reports("faults_cross") if r.rule == "gm_race"]
    shown = {(r.other["core"][:3], r.core[:3]) for r in races}
    assert shown == {("AIC", "AIV"), ("AIV", "AIC"), ("AIV", "AIV")}


@pytest.mark.parametrize(
    "what,entry,numbers,rule",
    [
        ("operand in the wrong buffer", "faults_operands_cube", (13, 14, 18, 28), "position"),
        ("operand in the wrong buffer", "faults_operands_vector", (15,), "position"),
        ("missing flag", "faults_hazard_cube", (1, 3, 5, 9), "hazard_raw"),
        ("missing flag", "faults_hazard_vector", (1, 3), "hazard_raw"),
        ("UB overflow", "faults_vector", (1,), "capacity"),
        ("UB overflow", "faults_cross", (16,), "capacity"),
        ("repeat above 255", "faults_operands_vector", (10, 30), "repeat"),
        ("repeat above 255", "faults_operands_cube", (11,), "repeat"),
        ("wrong atomic type", "faults_memory", (6,), "atomic"),
        ("quantising Fixpipe mode", "faults_operands_cube", (26,), "type"),
        ("cube API in a vector section", "faults_operands_vector", (39,), "core"),
        ("vector API in a cube section", "faults_operands_cube", (40,), "core"),
    ],
)
def test_what_the_device_headers_accept(what, entry, numbers, rule):
    for fault in numbers:
        assert reports_of(entry, fault)[0].rule == rule, what


def test_readme_holds_the_tally():
    readme = (faults.KERNELS.parent / "README.md").read_text()
    assert faults.tally() in readme, "README.md: replace the tally by the output of `python tests/twin/faults.py`"
