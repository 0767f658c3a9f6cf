# SPDX-License-Identifier: Apache-2.0
"""The number of threads of the CPU kernels, and where it comes from.

Unless the user has set OMP_NUM_THREADS, MindSpore sets it to 1 in C, when it is imported and whenever it compiles a
graph. MindSpore's own OpenMP runtime is loaded earlier and does not see this value. A runtime loaded later does, and
so do child processes, to which it looks like a value from the user. Therefore ms_nsa passes the user's own value to
child processes in another variable.
"""

import os

_GIVEN = "MS_NSA_GIVEN_OMP_NUM_THREADS"
_MOST = 1024  # csrc/runtime/thread_number.h


def given_to_openmp():
    """The user's OMP_NUM_THREADS, or None. Python's copy of the environment does not contain values set in C."""
    value = os.environ.get("OMP_NUM_THREADS")
    if value == "1":  # may be the value that MindSpore set in a parent process
        value = os.environ.get(_GIVEN, value)
    return value or None


def tell_children():
    """Passes the user's OMP_NUM_THREADS to child processes, without changing this process's os.environ."""
    os.putenv(_GIVEN, given_to_openmp() or "")


def set_num_threads(num_threads):
    """
    Sets the number of threads of the CPU kernels in this process and in child processes that it starts later.

    It takes precedence over the environment variables MS_NSA_NUM_THREADS and OMP_NUM_THREADS. Without any of the three
    there is one thread per processor that the process may use. Results do not depend on the number of threads.

    Args:
        num_threads (int): The number of threads, from 1 to 1024.

    Returns:
        None.

    Raises:
        TypeError: If `num_threads` is not an int.
        ValueError: If `num_threads` is less than 1 or more than 1024.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import ms_nsa
        >>> from ms_nsa import backend
        >>> ms_nsa.set_num_threads(2)
        >>> backend.threads()
        2
    """
    from ms_nsa import checks, native

    number = checks.size_up_to(_MOST, "set_num_threads", "num_threads", num_threads)
    native.library().MsNsaSetThreads(number)
    os.environ["MS_NSA_NUM_THREADS"] = str(number)


def described(number, source, processors):
    """The entry for the number of threads in the environment report."""
    given = given_to_openmp()
    if source == "set":
        source = "ms_nsa.set_num_threads"
    elif source == "default":
        is_given = given is not None and given.split(",")[0].strip() == str(number)
        source = "OMP_NUM_THREADS" if is_given else "processors" if number == processors else "OpenMP"
    if number > 1 or processors == 1:
        return f"{number} ({source})"
    return f"1 ({source}); WARNING: this process may use {processors} processors: set MS_NSA_NUM_THREADS"
