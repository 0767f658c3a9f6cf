# SPDX-License-Identifier: Apache-2.0
"""The number of threads of the CPU kernels, and where it comes from.

MindSpore sets OMP_NUM_THREADS to 1 in C, when it is imported and again when it compiles a graph, unless the user has
set it. Its own OpenMP runtime is loaded before that and does not see it, but another runtime that is loaded later does,
and so do child processes, for which it looks like what the user gave. Therefore a child is told what that was.
"""

import os

_GIVEN = "MS_NSA_GIVEN_OMP_NUM_THREADS"
_MOST = 1024  # csrc/thread_number.h


def given_to_openmp():
    """What the user gave as OMP_NUM_THREADS, or None. Python's copy of the environment does not know what C set."""
    value = os.environ.get("OMP_NUM_THREADS")
    if value == "1":  # or MindSpore's, in a parent process
        value = os.environ.get(_GIVEN, value)
    return value or None


def tell_children():
    """Leaves what the user gave to child processes, in the environment that C, but not Python, sees here."""
    os.putenv(_GIVEN, given_to_openmp() or "")


def set_num_threads(num_threads):
    """
    Sets the number of threads of the CPU kernels in this process, and in those that it starts from now on.

    It comes before the environment variables MS_NSA_NUM_THREADS and OMP_NUM_THREADS. Without any of them there is one
    thread for each processor that the process may use. Results do not depend on it.

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
    """The environment report's sentence on the number of threads."""
    given = given_to_openmp()
    if source == "set":
        source = "ms_nsa.set_num_threads"
    elif source == "default":
        is_given = given is not None and given.split(",")[0].strip() == str(number)
        source = "OMP_NUM_THREADS" if is_given else "processors" if number == processors else "OpenMP"
    if number > 1 or processors == 1:
        return f"{number} ({source})"
    return f"1 ({source}); WARNING: this process may use {processors} processors: set MS_NSA_NUM_THREADS"
