"""Finds and loads the native library; ``python -m ms_nsa.backend`` prints what this installation can do."""

import ctypes
import functools
import os
import pathlib
import platform
import sys

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
    """Name of the instruction set in use: scalar, avx2, avx512, avx512bf16 or neon."""
    return _report()[0]


def supported_isas():
    """Names of the instruction sets that this machine runs, narrowest first."""
    return _report()[1].split(",")


def threads():
    """Number of threads that the CPU kernels use; OMP_NUM_THREADS sets it."""
    return int(_report()[2])


def _ascend_rows():
    from ms_nsa import vendor

    if vendor.folder() is None:
        return [("ascend package", "not in this installation")]
    wrong = vendor.problem()
    return [
        ("ascend package", f"for {' and '.join(vendor.chips())}, built with CANN {vendor.built_with()}"),
        ("cann", vendor.installed_cann() or "not found"),
        ("ascend kernels", wrong or f"fit this machine ({vendor.chip()})"),
        ("MS_NSA_DEBUG", os.environ.get("MS_NSA_DEBUG", "not set")),
    ]


def report():
    """The environment report: pairs of a name and a value."""
    import mindspore
    import ml_dtypes
    import numpy

    import ms_nsa

    return [
        ("ms_nsa", ms_nsa.__version__),
        ("mindspore", mindspore.__version__),
        ("numpy", numpy.__version__),
        ("ml_dtypes", ml_dtypes.__version__),
        ("python", platform.python_version()),
        ("machine", platform.machine()),
        ("library", library_path().name),
        ("isa", f"{current_isa()} (this machine runs {', '.join(supported_isas())})"),
        ("MS_NSA_ISA", os.environ.get("MS_NSA_ISA", "not set")),
        ("threads", threads()),
        *_ascend_rows(),
    ]


def main():
    """Prints the environment report."""
    for name, value in report():
        print(f"{name:<15} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
