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
    ("faults_hazard_vector", "faults_hazard_vector", hazard_vector, None, ["vector"]),
    ("faults_hazard_cube", "faults_hazard_cube", hazard_cube, None, ["cube"]),
    ("faults_operands_vector", "faults_operands_vector", operands_vector, None, ["vector"]),
    ("faults_operands_cube", "faults_operands_cube", operands_cube, None, ["cube"]),
    ("faults_queue", "faults_queue", queue, None, ["vector"]),
    ("faults_cross", "faults_cross", cross, None, ["cube", "vector"]),
    ("faults_memory", "faults_memory", memory, set(range(15)), ["vector"]),
    ("faults_memory", "faults_memory_software", memory_software, SOFTWARE, ["vector"]),
]
CASES = [
    (stem, entry, arguments, halves, fault)
    for stem, entry, arguments, wanted, halves in ENTRIES
    for fault in faults.cases(stem)
    if wanted is None or fault in wanted
]
KERNELS = {}


def kernel_of(stem, halves):
    if stem not in KERNELS:
        KERNELS[stem] = twin.compile_kernel(faults.KERNELS / f"{stem}.cpp", halves=halves)
    return KERNELS[stem]


@pytest.mark.parametrize("stem,entry,arguments,halves,fault", CASES, ids=[f"{c[1]}-{c[4]}" for c in CASES])
def test_fault(stem, entry, arguments, halves, fault):
    bound, options = arguments(fault)
    result = kernel_of(stem, halves).launch(entry, bound, raise_reports=False, timing=False, **options)
    faults.check(stem, fault, result.reports)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("stem,entry,arguments,halves", [c[:4] for c in CASES if c[4] == 0])
def test_correct_kernel_under_any_schedule(stem, entry, arguments, halves, seed):
    bound, options = arguments(0)
    result = kernel_of(stem, halves).launch(entry, bound, seed=seed, preempt=4, timing=False, **options)
    assert not result.reports


def test_deadlock_names_who_waits_for_what():
    bound, options = cross(15)
    kernel = kernel_of("faults_cross", ["cube", "vector"])
    (report,) = kernel.launch("faults_cross", bound, raise_reports=False, timing=False, **options).reports
    lines = [n for n, text in enumerate(kernel.source.read_text().splitlines(), 1) if "WaitFlag(kPair)" in text]
    for core in ("AIC0", "AIV0.0", "AIV0.1", "AIC1", "AIV1.0", "AIV1.1"):
        line = lines[0] if core.startswith("AIC") else lines[1]
        wait = f"{core} waits for CrossCoreWaitFlag(4) ({kernel.source}:{line})"
        assert wait in report.message


def test_every_rule_has_a_mutant():
    shown = {
        rule for source in faults.KERNELS.glob("faults_*.cpp") for m in faults.marked(source).values() for rule, _ in m
    }
    assert shown == set(faults.rules())


def test_readme_holds_the_tally():
    readme = (faults.KERNELS.parent / "README.md").read_text()
    assert faults.tally() in readme, "README.md: replace the tally by the output of `python tests/twin/faults.py`"
