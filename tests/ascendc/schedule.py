# SPDX-License-Identifier: Apache-2.0
"""Calls the kernels' schedule, compiled for the host, on the arrays of a case."""

import ctypes
import functools
import pathlib

import numpy as np

from ascendc import host

INTS = ctypes.POINTER(ctypes.c_int64)


class _Arrays(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("params", "indices", "mask", "pages", "q_lens", "kv_lens")]


@functools.cache
def library():
    source = pathlib.Path(__file__).resolve().parent / "schedule.cpp"
    lib = ctypes.CDLL(str(host.build([source], "schedule")))
    lib.HostSteps.restype = lib.HostRows.restype = lib.HostSegments.restype = ctypes.c_int64
    return lib


class Schedule:
    """What the cores do for a case, in the token-outer schedule."""

    def __init__(self, case, aic_cores):
        plan = host.tile(host.shapes_of(case), aic_cores, "token")
        self.params, self.cores = plan.params, plan.block_dim
        mask = None if case.atten_mask is None else np.ascontiguousarray(case.atten_mask).view(np.uint8)
        lens = case.actual_seq_qlen, case.actual_seq_kvlen
        arrays = [case.topk_indices, mask, getattr(case, "block_table", None)]
        arrays += [None if each is None else np.array(each, np.int64) for each in lens]
        self._kept = [None if array is None else np.ascontiguousarray(array) for array in arrays]
        addresses = [None if array is None else array.ctypes.data for array in self._kept]
        self._arrays = _Arrays(ctypes.addressof(self.params), *addresses)
        rows = self.params.select_block_count * self.params.select_block_size
        self._most_rows = rows
        self._most_steps = self.params.tokens * self.params.kv_heads * (rows // 16 + 2)

    def steps(self, core):
        """[step, 8]: token row, kv head, first row, rows, starts, ends, last, follower."""
        out = np.empty((self._most_steps, 8), np.int64)
        count = library().HostSteps(
            ctypes.byref(self.params), ctypes.byref(self._arrays), ctypes.c_int64(core),
            ctypes.c_int64(self.cores), out.ctypes.data_as(INTS),
        )  # fmt: skip
        return out[:count]

    def rows(self, token, head, skip=0, limit=1 << 40):
        """Cache rows that a token sees through a kv head, in the order of its slots."""
        out = np.empty(self._most_rows, np.int64)
        count = library().HostRows(
            ctypes.byref(self.params), ctypes.byref(self._arrays), ctypes.c_int64(token), head,
            ctypes.c_int64(skip), ctypes.c_int64(limit), out.ctypes.data_as(INTS),
        )  # fmt: skip
        return out[:count]


def segments(params, q_ends, kv_ends):
    """[segment, 4]: first token row, tokens, index of the first inside its sequence, length of its keys."""
    ends = [np.ascontiguousarray(each, np.int64) for each in (q_ends, kv_ends)]
    arrays = _Arrays(ctypes.addressof(params), None, None, None, *(each.ctypes.data for each in ends))
    out = np.empty((params.tokens // max(params.segment_tokens, 1) + len(q_ends) + 1, 4), np.int64)
    count = library().HostSegments(ctypes.byref(params), ctypes.byref(arrays), out.ctypes.data_as(INTS))
    return out[:count]
