# SPDX-License-Identifier: Apache-2.0
"""Calls the library's inference for the Ascend operators, as MindSpore does in graphs with dynamic shapes."""

import ctypes
import functools
import pathlib

from ascendc import host
from ms_nsa import backend, registry


@functools.cache
def library():
    source = pathlib.Path(__file__).resolve().parent / "inference.cpp"
    options = ("-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0", f"-I{host.ROOT / 'ms_nsa' / 'csrc'}", "-ldl")
    lib = ctypes.CDLL(str(host.build([source], "inference", options)))
    lib.NewAttributes.restype = ctypes.c_void_p
    lib.AddNumber.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double]
    lib.AddText.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    return lib


def _function(operator, suffix):
    return str(backend.library_path()).encode(), (registry.load(operator)["ascend_name"] + suffix).encode()


def infer_types(operator, types):
    """MindSpore's numbers of the output types, for those of the inputs."""
    numbers, out = (ctypes.c_int * len(types))(*types), (ctypes.c_int * 8)()
    return out[: library().InferTypes(*_function(operator, "InferType"), len(types), numbers, out)]


def infer_shapes(operator, shapes, attributes):
    """Output shapes for the shapes of the Ascend operator's inputs; ValueError with the library's sentence."""
    values = ctypes.c_void_p(library().NewAttributes())
    for name, value in attributes.items():
        add = library().AddText if isinstance(value, str) else library().AddNumber
        add(values, name.encode(), value.encode() if isinstance(value, str) else value)
    ndims = (ctypes.c_int * len(shapes))(*map(len, shapes))
    extents = [(ctypes.c_int64 * len(shape))(*shape) for shape in shapes]
    pointers = (ctypes.POINTER(ctypes.c_int64) * len(shapes))(
        *(ctypes.cast(each, ctypes.POINTER(ctypes.c_int64)) for each in extents)
    )
    out, message = (ctypes.c_int64 * 32)(), ctypes.create_string_buffer(512)
    failed = library().InferShapes(*_function(operator, "InferShape"), ndims, pointers, values, out, message, 512)
    if failed:
        raise ValueError(message.value.decode())
    result, at = [], 0
    for _ in registry.outputs(operator, "ascend"):
        result.append(tuple(out[at + 1 : at + 1 + out[at]]))
        at += 1 + out[at]
    return result
