# SPDX-License-Identifier: Apache-2.0
"""Test runs beside each other share what they build in build/."""

import contextlib
import fcntl


@contextlib.contextmanager
def one_builder(target):
    """Lets one process at a time build `target`, a path; the others wait and then find it built."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(f"{target.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_once(target, make):
    """The path `target`; unless it is there already, make(partial) writes it under another name first."""
    with one_builder(target):
        if not target.exists():
            partial = target.with_suffix(".tmp")
            make(partial)
            partial.replace(target)
    return target
