"""Finds and loads the native library."""

import ctypes
import functools
import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent
_MESSAGE_BYTES = 1024


def library_path():
    """Path of the native CPU library that this installation brought."""
    path = _PACKAGE / "lib" / "libms_nsa_cpu.so"
    if not path.is_file():
        raise RuntimeError(f"ms_nsa: {path} must exist, got no such file; install the package with `pip install .`")
    return path


@functools.cache
def library():
    """The native CPU library, loaded once."""
    lib = ctypes.CDLL(str(library_path()))
    text, number = ctypes.c_char_p, ctypes.c_int
    numbers, extents = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int64)
    lib.MsNsaCheckShapes.argtypes = [text, text, number, numbers, extents, extents, text, number]
    lib.MsNsaReport.argtypes = [text, number]
    lib.MsNsaSelectIsa.argtypes = [text, text, number]
    lib.MsNsaEndedRuns.restype = ctypes.c_int64
    for items in (lib.MsNsaSharedItems, lib.MsNsaLongItems):
        items.argtypes, items.restype = [text, ctypes.c_int64, ctypes.c_int64], ctypes.c_int64
    for wait in (lib.MsNsaJoinRun, lib.MsNsaAwaitRun):
        wait.argtypes, wait.restype = [ctypes.c_int64, ctypes.c_int64], None
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
    """Name of the instruction set in use: scalar, avx2, avx512, avx512bf16, neon, neonfp16 or neonbf16."""
    return _report()[0]


def supported_isas():
    """Names of the instruction sets that this machine runs, narrowest first."""
    return _report()[1].split(",")


def threads():
    """Number of threads that the CPU kernels use; OMP_NUM_THREADS sets it."""
    return int(_report()[2])
