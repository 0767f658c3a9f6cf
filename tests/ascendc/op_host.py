# SPDX-License-Identifier: Apache-2.0
"""Compiles op_host over the stand-in of CANN's registration interface, and calls what it registered."""

import ctypes
import functools
import pathlib
import re

import numpy as np

from ascendc import cann, host
from ascendc.cann import TYPES
from ms_nsa import op_reader, registry

HERE = pathlib.Path(__file__).resolve().parent
OP_HOST, OP_KERNEL = host.ASCENDC / "op_host", host.ASCENDC / "op_kernel"
NAMES = [path.stem for path in sorted((host.ROOT / "op_info").glob("*.json"))]
OPERATORS = {registry.load(name)["ascend_name"]: name for name in NAMES if "ascend_name" in registry.load(name)}

SYSTEM_WORKSPACE = 16 << 20


class _Result(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("data_size", "workspace", "block_dim", "schedule_mode")),
        ("data", ctypes.c_char * 4096),
    ]

    @property
    def params(self):
        """The tiling data: its bytes, or of an operator that has them host.AttentionParams."""
        data = bytearray(bytes(self)[self._data_at : self._data_at + self.data_size])
        shared = self.data_size == ctypes.sizeof(host.AttentionParams)
        return host.AttentionParams.from_buffer(data) if shared else bytes(data)

    @property
    def workspace_bytes(self):
        """What is left of the workspace for the kernel."""
        return self.workspace - SYSTEM_WORKSPACE

    _data_at = 4 * 8


@functools.cache
def library():
    """As C++11, which CANN compiles op_host as."""
    sources = [HERE / "op_host.cpp", *sorted(OP_HOST.glob("*.cpp")), host.generated() / "op_info.cpp"]
    lib = ctypes.CDLL(str(host.build(sources, "op_host", ["-std=c++11", f"-I{HERE / 'cann' / 'include'}"])))
    lib.HostNewCall.restype = ctypes.c_void_p
    lib.HostAddFloat.argtypes = [ctypes.c_void_p, ctypes.c_float]
    lib.HostAddInt.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    return lib


@functools.cache
def registered():
    """{OpType: what op_host registered}."""
    return cann.registered(library()._name)


def values_of(op_type, attributes):
    """The values of a call's attributes, from the values by name; debug is off if not given."""
    return registry.ascend_values(OPERATORS[op_type], {"debug": 0, **attributes})


class Call:
    """Shapes (by name on Ascend, None: absent) and attribute values of one call of an operator."""

    def __init__(self, op_type, shapes, values):
        self.op_type, self._operator = op_type.encode(), OPERATORS[op_type]
        self._call = ctypes.c_void_p(library().HostNewCall())
        for tensor in registry.inputs(self._operator, "ascend"):
            shape = shapes[tensor["name"]]
            extents = (ctypes.c_int64 * len(shape or ()))(*(shape or ()))
            library().HostAddInput(self._call, -1 if shape is None else len(shape), extents)
        attributes = registry.attributes(self._operator, "ascend")
        assert len(values) == len(attributes)
        for attribute, value in zip(attributes, values):
            add = library().HostAddFloat if attribute["type"] == "float" else library().HostAddInt
            add(self._call, value)

    def __del__(self):
        library().HostDeleteCall(self._call)

    def tile(self, aic_cores):
        """What the tiling decided, or None where it refused and printed why."""
        result = _Result()
        failed = library().HostTiling(self.op_type, self._call, aic_cores, SYSTEM_WORKSPACE, ctypes.byref(result))
        return None if failed else result

    def infer_shapes(self):
        out = (ctypes.c_int64 * 32)()
        assert library().HostInferShape(self.op_type, self._call, out) == 0
        shapes, at = [], 0
        for _ in registered()[self.op_type.decode()]["outputs"]:
            shapes.append(tuple(out[at + 1 : at + 1 + out[at]]))
            at += 1 + out[at]
        return shapes


def infer_types(op_type, types):
    """Output dtypes by name for input dtypes by name."""
    numbers = (ctypes.c_int * len(types))(*(TYPES[name] for name in types))
    out = (ctypes.c_int * 8)()
    assert library().HostInferType(op_type.encode(), len(types), numbers, out) == 0
    names = {number: name for name, number in TYPES.items()}
    return [names[number] for number in out[: len(registered()[op_type]["outputs"])]]


def kernel_parameters(path):
    """{entry: names of its parameters}, from the source of a kernel."""
    text = re.sub(r"\s+", " ", path.read_text())
    entries = re.findall(r'extern "C" __global__ __aicore__ void (\w+)\(([^)]*)\)', text)
    return {name: [part.split()[-1] for part in parameters.split(",")] for name, parameters in entries}


def call_of(case, empty=False, gradient=False, debug=0):
    """The Call that a SelectCase or PagedCase makes; `empty` gives MindSpore's empty tensor for absent inputs."""
    attributes = {
        "head_num": case.head_num,
        "key_value_head_num": case.key_value_head_num,
        "select_block_size": case.select_block_size,
        "select_block_count": case.select_block_count,
        "sparse_mode": case.sparse_mode,
        "default_scale": int(case.scale_value is None),
        "scale_value": case.scale_value or 0.0,
        "debug": debug,
    }
    op_type = "MsNsaSelectAttentionGrad" if gradient else "MsNsaSelectAttention"
    if hasattr(case, "block_table"):
        op_type = "MsNsaSelectedAttentionInfer"
        attributes.update(page_block_size=case.page_block_size, layout=case.layout)
        attributes.update(return_softmax_lse=int(case.return_softmax_lse), cache_layout=case.cache_layout)
    shapes = {}
    for tensor in registry.inputs(OPERATORS[op_type], "ascend"):
        absent = op_reader.ABSENT if empty else None
        shape = _shape_of(case, tensor["name"])
        shapes[tensor["name"]] = absent if shape is None else shape
    return Call(op_type, shapes, values_of(op_type, attributes))


def _shape_of(case, name):
    if name == "actual_seq_lens":
        return None if case.actual_seq_qlen is None else (2 * len(case.actual_seq_qlen),)
    if name in ("softmax_max", "softmax_sum"):
        return (*case.query.shape[:2], 8)
    if name in ("softmax_max_grad", "softmax_sum_grad"):
        given = (case.statistics_grad or (None, None))[name == "softmax_sum_grad"]
        return None if given is None else given.shape
    value = case.grad if name == "attention_out" else getattr(case, name)
    return None if value is None else np.shape(value)
