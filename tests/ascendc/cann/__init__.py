# SPDX-License-Identifier: Apache-2.0
"""CANN's part of a build, stood in for: numbers of its headers, the registration interface, the toolkit."""

import ctypes
import json

TYPES = {"float32": 0, "float16": 1, "int32": 3, "uint8": 4, "int64": 9, "bool": 12, "bfloat16": 27}
OPTIONAL, REQUIRED, FORMAT_ND = 1, 2, 2


def registered(path):
    """{OpType: what a library of op_host, built over the stand-in, registered}."""
    library = ctypes.CDLL(str(path))
    library.HostRegistered.restype = ctypes.c_char_p
    return {op["name"]: op for op in json.loads(library.HostRegistered().decode())}
