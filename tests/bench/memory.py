# SPDX-License-Identifier: Apache-2.0
"""Extra memory of a training call, from the resident peak of a fresh process: ``python -m bench.memory``.

Forward: a packed copy of K and V, and at most WORKSPACE_BYTES a thread. Backward: dK and dV in float32, the packed
copies, and the same. Neither grows with T1 * select_block_count * select_block_size.
"""

import argparse
import json
import os
import pathlib
import re
import sys

import children
from bench.cases import BACKWARD, FORWARD, TrainingCase

WORKSPACE_BYTES = 8 << 20
# Memory that the C library keeps from freed arrays would hide what a call takes.
FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_STATUS = pathlib.Path("/proc/self/status")


def limit_bytes(case, threads):
    """Largest extra memory allowed: the formula above."""
    kv = case.t2 * case.n2 * (case.d1 + case.d2)
    packed = 2 * kv
    return packed + (4 * kv if case.operator == BACKWARD else 0) + threads * WORKSPACE_BYTES


def memory_cases():
    """The operators at T1 = 4096, and at four times that: the extra memory must not follow."""
    sizes = ((FORWARD, 4096, 4096), (FORWARD, 16384, 4096), (FORWARD, 4096, 32768))
    sizes += ((BACKWARD, 4096, 4096), (BACKWARD, 16384, 4096), (BACKWARD, 4096, 32768))
    return [TrainingCase(f"memory {operator} T1={t1} T2={t2}", operator, 4, t1=t1, t2=t2) for operator, t1, t2 in sizes]


def extra_in_fresh_process(case):
    """Bytes above inputs and outputs, measured in a process of its own."""
    run = children.run_python("-m", "bench.memory", case.operator, case.t1, case.t2, **FREE_AT_ONCE)
    run.check_returncode()
    return json.loads(run.stdout.splitlines()[-1])["extra_bytes"]


def status_bytes(name):
    return 1024 * int(re.search(rf"^{name}:\s*(\d+) kB", _STATUS.read_text(), flags=re.MULTILINE).group(1))


def reset_peak():
    """Sets VmHWM to the present resident size."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def extra_bytes(operator, t1, t2):
    """Resident peak of one call above what was resident before it, less the results."""
    from bench import inputs, operators

    warm = TrainingCase("warm", operator, 4, t1=64, t2=1024)
    operators.await_result(operators.make_call(warm, inputs.select_inputs(warm))())
    case = TrainingCase("memory", operator, 4, t1=t1, t2=t2)
    made = inputs.select_inputs(case)
    call = operators.make_call(case, made)
    reset_peak()
    before = status_bytes("VmRSS")
    results = operators.as_arrays(call())
    return status_bytes("VmHWM") - before - sum(result.nbytes for result in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operator", choices=(FORWARD, BACKWARD))
    parser.add_argument("t1", type=int)
    parser.add_argument("t2", type=int)
    arguments = parser.parse_args()
    print(json.dumps({"extra_bytes": extra_bytes(**vars(arguments)), "pid": os.getpid()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
