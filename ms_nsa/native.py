# SPDX-License-Identifier: Apache-2.0
"""Finds and loads the native library."""

import ctypes
import functools
import pathlib
import struct

from ms_nsa.threads import described, given_to_openmp

_PACKAGE = pathlib.Path(__file__).resolve().parent
_MESSAGE_BYTES = 1024
_ELF_64 = b"\x7fELF\x02\x01"  # and little-endian
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")


def library_path():
    """Path of the native CPU library that this installation brought."""
    path = _PACKAGE / "lib" / "libms_nsa_cpu.so"
    if not path.is_file():
        raise RuntimeError(f"ms_nsa: {path} must exist, got no such file; install the package with `pip install .`")
    if ":" in str(path):
        rule = "hold no colon, at which MindSpore ends the name of a library"
        raise RuntimeError(f"ms_nsa: the path of the installation must {rule}, got {path.parents[2]}")
    _check_size(path)
    return path


def _check_size(path):
    """Loading a truncated library would end the process. Its section table is at the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_ELF_HEADER.size)
    whole = _ELF_HEADER.size
    if len(header) == whole and header.startswith(_ELF_64):
        start, entry, entries = (_ELF_HEADER.unpack(header)[at] for at in (6, 11, 12))
        whole = max(whole, start + entry * entries)
    if size < whole:
        rule = f"have its {whole} bytes, got {size}"
        raise RuntimeError(f"ms_nsa: {path} must {rule}; install the package again")


@functools.cache
def library():
    """The native CPU library, loaded once."""
    path = library_path()
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        raise RuntimeError(f"ms_nsa: {path} must be a library that this machine loads, got {error}") from None
    text, number = ctypes.c_char_p, ctypes.c_int
    numbers, extents = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int64)
    lib.MsNsaCheckShapes.argtypes = [text, text, number, numbers, extents, extents, ctypes.c_int64, text, number]
    lib.MsNsaReport.argtypes = [text, number]
    lib.MsNsaSelectIsa.argtypes = [text, text, number]
    lib.MsNsaEndedRuns.restype = ctypes.c_int64
    lib.MsNsaWaiting.argtypes = [text, ctypes.c_int64]
    for wait in (lib.MsNsaJoinRun, lib.MsNsaAwaitRun):
        wait.argtypes, wait.restype = [ctypes.c_int64, ctypes.c_int64], None
    lib.MsNsaSetThreads.argtypes, lib.MsNsaSetThreads.restype = [number], None
    if given_to_openmp() is None:
        lib.MsNsaUseProcessors()
    return lib


def call(function, *args, error=RuntimeError):
    """Calls a library function that ends in (message, size) and raises its sentence when it fails.

    Returns:
        str, what the function left in the message buffer.
    """
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    failed = function(*args, message, _MESSAGE_BYTES)
    if failed:
        raise error(message.value.decode())
    return message.value.decode()


def select_isa(isa):
    """Switches the CPU kernels of this process to another instruction set.

    Args:
        isa (str): one of :func:`supported_isas`.

    Raises:
        RuntimeError: If this machine does not run `isa`.
    """
    call(library().MsNsaSelectIsa, isa.encode())


def _report():
    return call(library().MsNsaReport).split(";")


def current_isa():
    """Name of the instruction set in use: scalar, avx2, avx512, avx512bf16, amxbf16, neon, neonfp16 or neonbf16."""
    return _report()[0]


def supported_isas():
    """Names of the instruction sets that this machine runs, slowest first."""
    return _report()[1].split(",")


def threads():
    """Number of threads that the CPU kernels use; :func:`ms_nsa.set_num_threads` sets it."""
    return int(_report()[2])


def threads_described():
    """The number of threads, where it comes from, and a warning if that is one on a larger machine."""
    number, source, processors = _report()[2:]
    return described(int(number), source, int(processors))
