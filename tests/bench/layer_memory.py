# SPDX-License-Identifier: Apache-2.0
"""Memory of one call of the layer or of its dense twin, from the resident peak of a fresh process.

``python -m bench.layer_memory forward layer sparse LENGTH`` prints the bytes above what was resident before the call:
weights, inputs and pages are not counted, results and what is kept for the gradient are.
"""

import json
import sys

import children
from bench import memory

WARM_LENGTH = 1024  # makes what is made once


def in_fresh_process(kind, scope, which, length, options):
    """Bytes of one call, measured in a process of its own; `options` as on the command line of bench.layer."""
    command = "-m", "bench.layer_memory", kind, scope, which, length, *options
    run = children.run_python(*command, **memory.FREE_AT_ONCE)
    run.check_returncode()
    return json.loads(run.stdout.splitlines()[-1])["extra_bytes"]


def extra_bytes(kind, scope, which, length, o):
    """Resident peak of one call above what was resident before it."""
    from bench import layer

    at = ("sparse", "dense").index(which)
    for call in layer.calls_of(kind, scope, min(length, WARM_LENGTH), o):
        call()
    call = list(layer.calls_of(kind, scope, length, o))[at]
    memory.reset_peak()
    before = memory.status_bytes("VmRSS")
    call()
    return memory.status_bytes("VmHWM") - before


def main():
    from bench import layer

    kind, scope, which, length, *options = sys.argv[1:]
    print(json.dumps({"extra_bytes": extra_bytes(kind, scope, which, int(length), layer.parse(options))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
