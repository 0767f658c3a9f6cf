# SPDX-License-Identifier: Apache-2.0
"""Runs tests with another compiler or with sanitizers, in a process of their own."""

from __future__ import annotations

import os
import platform
import subprocess

from children import run_python


def runtime(compiler: str) -> str:
    """The sanitizers' libraries. They must come first in the process, and Python is not built with them, so they
    are preloaded. Clang's library for addresses also holds the one for undefined behaviour."""
    clang = "clang" in compiler
    names = [f"libclang_rt.asan-{platform.machine()}.so"] if clang else ["libasan.so", "libubsan.so"]
    paths = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
    ]
    missing = [path for path in paths if not os.path.isabs(path)]
    assert not missing, f"{compiler} has no {missing}: install its sanitizer runtimes"
    return " ".join(paths)


def sanitized(compiler: str) -> dict[str, str]:
    """The environment for a run with address and undefined-behaviour sanitizers; the first finding ends it. No
    symbolizer: a process of its own, it would start with the preloaded library too, and hang."""
    symbolize = f"symbolize={int('clang' not in compiler)}"
    return {
        "TWIN_CXX": compiler,
        "TWIN_SANITIZE": "address,undefined",
        "LD_PRELOAD": runtime(compiler),
        "ASAN_OPTIONS": f"detect_leaks=0:detect_stack_use_after_return=0:{symbolize}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{symbolize}",
    }


def run_tests(*selection: str, **environment: str) -> None:
    done = run_python("-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *selection, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
