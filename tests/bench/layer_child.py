# SPDX-License-Identifier: Apache-2.0
"""The memory of one call of a case of `python -m bench layer`, in a process of its own.

``python -m bench.layer_child KIND SCOPE WHICH LENGTH`` prints the resident peak above what was resident before the
call: weights, inputs and pages are not counted, results and what is kept for the gradient are.
"""

import json
import sys

import children
from bench import memory

WARM_LENGTH = 1024  # makes what is made once
SIZES = "head_num", "group", "head_dim", "hidden_size", "batch", "dtype"


def in_fresh_process(kind, scope, which, length, o):
    """What the child measured, or why it did not: {"failure": ...}."""
    sizes = [word for name in SIZES for word in ("--" + name.replace("_", "-"), str(getattr(o, name)))]
    command = "-m", "bench.layer_child", kind, scope, which, length, *sizes
    run = children.run_python(*command, **memory.FREE_AT_ONCE)
    if run.returncode:
        return {"failure": (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]}
    return json.loads(run.stdout.splitlines()[-1])


def one_call(kind, scope, which, length, o):
    """Bytes of one call."""
    from bench import layer_calls

    layer_calls.make_call(kind, scope, which, min(length, WARM_LENGTH), o)()
    call = layer_calls.make_call(kind, scope, which, length, o)
    memory.reset_peak()
    before = memory.status_bytes("VmRSS")
    call()
    return {"extra_bytes": memory.status_bytes("VmHWM") - before}


def main():
    from bench import layer

    kind, scope, which, length, *options = sys.argv[1:]
    print(json.dumps(one_call(kind, scope, which, int(length), layer.parse(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
