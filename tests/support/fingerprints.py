# SPDX-License-Identifier: Apache-2.0
"""Runs a fixed set of cases through the Cells and prints a digest of every result as JSON.

In a process of its own this shows what OMP_NUM_THREADS and MS_NSA_ISA do; both are read when the process starts.
"""

import hashlib
import json
import sys

import numpy as np

from children import environment, run_python
from ms_nsa import backend

from .cases import DTYPES
from .generators import make_paged_case, make_select_case
from .run_cells import run_operator

__all__ = ["environment", "fingerprint", "fingerprints", "in_a_fresh_process", "make_cases", "run_python"]

# Large enough that every kernel divides its work between threads.
SIZES = {"n2": 3, "group": 5, "d1": 88, "d2": 56, "select_block_count": 7}


def make_cases():
    for name, dtype in DTYPES.items():
        rng = np.random.default_rng(11)
        yield (
            f"select {name}",
            make_select_case(rng, dtype, [150, 0, 61], [333, 20, 190], select_block_size=33, sparse_mode=3, **SIZES),
        )
        yield (
            f"decode {name}",
            make_paged_case(
                rng, dtype, "BSND", 2, [2, 1, 2], [900, 333, 40], page_block_size=48, select_block_size=96, **SIZES
            ),
        )
        sizes = {**SIZES, "n2": 1, "group": 2}
        yield (
            f"decode of one token {name}",
            make_paged_case(rng, dtype, "TND", 1, [1], [2900], page_block_size=128, select_block_size=256, **sizes),
        )


def fingerprint(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def fingerprints(repeats=1):
    """The digests of each case's results, one for every repeat."""
    return {name: [fingerprint(run_operator(case)) for _ in range(repeats)] for name, case in make_cases()}


def in_a_fresh_process(repeats=1, **variables):
    """What this file prints under the environment variables given."""
    done = run_python("-m", "support.fingerprints", str(repeats), **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    found = fingerprints(int(sys.argv[1]))
    print(json.dumps({"isa": backend.current_isa(), "threads": backend.threads(), "fingerprints": found}))
