"""The twin's own tests with the other compiler and with sanitizers, each in a process of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent


def run(**environment):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE)]
    done = subprocess.run(
        command, cwd=HERE.parents[1], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def runtime(library):
    return subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_clang():
    run(TWIN_CXX="clang++")


@pytest.mark.slow
def test_sanitizers():
    """ASan's runtime must come first in the process, and Python is not built with it: it is preloaded."""
    run(
        TWIN_SANITIZE="address,undefined",
        LD_PRELOAD=f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
