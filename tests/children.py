# SPDX-License-Identifier: Apache-2.0
"""Python processes that tests start import what the tests import: the installed package, not the tree they lie in."""

import os
import pathlib
import subprocess
import sys

# Python looks for modules in a child's working directory first; the repository's own would bring the tree's package.
FOLDER = pathlib.Path(__file__).resolve().parent


def environment(**changes):
    """Variables for another Python; those that are None are not set."""
    search = os.pathsep.join(path for path in sys.path if path)
    # What a parent of this process left for its children is not what the test gives.
    told = {"MS_NSA_GIVEN_OMP_NUM_THREADS": None}
    variables = {**os.environ, **told, "PYTHONPATH": search, **changes}
    return {name: value for name, value in variables.items() if value is not None}


def run_python(*arguments, timeout=None, **changes):
    """The finished process of a Python that finds what this one finds."""
    command, variables = [sys.executable, *map(str, arguments)], environment(**changes)
    return subprocess.run(command, cwd=FOLDER, env=variables, capture_output=True, text=True, timeout=timeout)
