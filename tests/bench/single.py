# SPDX-License-Identifier: Apache-2.0
"""Times one case in this process and prints the seconds: what OMP_NUM_THREADS decides before MindSpore starts."""

import argparse
import json
import sys

import children
from bench.cases import CASES

THREAD_CASES = ("forward G=4 T=4096 random", "backward G=4 T=4096 random", "decode G=4 B=64 kv=16384 random")


def seconds_in_fresh_process(name, threads, isa, repeats):
    """Seconds of the calls of a case in a process of its own with that many threads."""
    changes = {"OMP_NUM_THREADS": str(threads), "MS_NSA_ISA": isa}
    run = children.run_python("-m", "bench.single", name, "--repeats", repeats, **changes)
    run.check_returncode()
    return json.loads(run.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    from bench import inputs, measure, operators

    case = next(case for case in CASES if case.name == arguments.name)
    call = operators.make_call(case, inputs.make(case))
    timing = measure.interleave(call, lambda row: [], arguments.repeats)
    print(json.dumps(timing.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
