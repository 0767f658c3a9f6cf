# SPDX-License-Identifier: Apache-2.0
"""Builds peaks.cpp and measures what the machine can do at best, sample by sample between the cases."""

import atexit
import collections
import ctypes
import functools
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import tempfile

import numpy as np

SOURCE = pathlib.Path(__file__).with_name("peaks.cpp")
FLAGS = ("-O3", "-std=gnu++17", "-Wno-psabi", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")

BF16_DOT, FMA_AVX512, FMA_AVX2, FMA_128 = "bf16 dot", "fp32 FMA AVX-512", "fp32 FMA AVX2", "fp32 128 bit"
STREAM, ROW_LOADS = "streamed read", "row loads"
UNITS = dict.fromkeys((BF16_DOT, FMA_AVX512, FMA_AVX2, FMA_128), "GFLOP/s") | {STREAM: "GB/s", ROW_LOADS: "GB/s"}
_BITS = {FMA_AVX512: 512, FMA_AVX2: 256, FMA_128: 128}
_SAMPLE_SECONDS = 0.02
_STREAM_BYTES = 1 << 29  # many times the last-level cache


class _RowLoads(ctypes.Structure):
    _pointers = ("key", "value", "topk_indices", "block_table")
    _numbers = (
        "batch", "n2", "select_block_count", "select_block_size", "page_block_size", "max_blocks", "kv_len",
        "key_bytes", "value_bytes",
    )  # fmt: skip
    _fields_ = tuple([(name, ctypes.c_void_p) for name in _pointers] + [(name, ctypes.c_int64) for name in _numbers])


@functools.cache
def library_path():
    """Compiles peaks.cpp with the machine's compiler into a directory that lives as long as the process."""
    folder = tempfile.mkdtemp(prefix="ms_nsa_bench_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = pathlib.Path(folder) / "libpeaks.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    subprocess.run([*compiler, *FLAGS, str(SOURCE), "-o", str(target)], check=True)
    return target


@functools.cache
def _library():
    library = ctypes.CDLL(str(library_path()))
    for name in ("TimeMultiplyAdd", "TimeDotBf16", "TimeStream", "TimeLoadRows"):
        if hasattr(library, name):
            getattr(library, name).restype = ctypes.c_double
    for name in ("MultiplyAdds", "DotBf16MultiplyAdds"):
        if hasattr(library, name):
            getattr(library, name).restype = ctypes.c_int64
    library.Sink.restype = ctypes.c_uint64
    return library


def arithmetic_peak(isa, dtype):
    """Name of the peak that kernels of an instruction set are held against."""
    if isa in ("avx512bf16", "amxbf16") and dtype == "bfloat16":
        return BF16_DOT
    return {"amxbf16": FMA_AVX512, "avx512bf16": FMA_AVX512, "avx512": FMA_AVX512, "avx2": FMA_AVX2}.get(isa, FMA_128)


class Peaks:
    """Measures peaks with a number of threads and keeps every sample of the run."""

    def __init__(self, threads, supported_isas):
        self.threads = threads
        self.samples = collections.defaultdict(list)
        self._memory = None
        self._rounds = {}
        widths = {"avx2": 256, "avx512": 512}
        self._bits = max([128, *(widths[isa] for isa in supported_isas if isa in widths)])
        self._has_dot = "avx512bf16" in supported_isas

    @property
    def names(self):
        """The peaks that this machine has."""
        fma = [name for name, bits in _BITS.items() if bits <= self._bits]
        return [BF16_DOT] * self._has_dot + fma + [STREAM]

    def sample(self, name):
        """One more measurement of a peak, in its unit."""
        value = self._stream() if name == STREAM else self._multiply_add(name)
        self.samples[name].append(value)
        return value

    def median(self, name):
        return statistics.median(self.samples[name]) if self.samples[name] else None

    def _multiply_add(self, name):
        if name not in self._rounds:
            seconds, _ = self._time_rounds(name, 100_000)
            self._rounds[name] = max(1000, int(100_000 * _SAMPLE_SECONDS / seconds))
        seconds, flop = self._time_rounds(name, self._rounds[name])
        return flop / seconds / 1e9

    def _time_rounds(self, name, rounds):
        count = ctypes.c_int64(rounds)
        if name == BF16_DOT:
            done = _library().DotBf16MultiplyAdds(count)
            return _library().TimeDotBf16(self.threads, count), 2 * self.threads * done
        done = _library().MultiplyAdds(_BITS[name], count)
        return _library().TimeMultiplyAdd(_BITS[name], self.threads, count), 2 * self.threads * done

    def _stream(self):
        if self._memory is None:
            self._memory = np.ones(_STREAM_BYTES, np.uint8)
        address = ctypes.c_void_p(self._memory.ctypes.data)
        seconds = _library().TimeStream(self._bits, self.threads, address, ctypes.c_int64(_STREAM_BYTES))
        return _STREAM_BYTES / seconds / 1e9

    def row_loads(self, case, made, call, ahead):
        """Seconds of a loop that only loads the rows that one decode call reads."""
        element = made.key.dtype.itemsize
        topk, table = (np.ascontiguousarray(call[name]) for name in ("topk_indices", "block_table"))
        loads = _RowLoads(
            made.key.ctypes.data, made.value.ctypes.data, topk.ctypes.data, table.ctypes.data,
            len(table), case.n2, case.select_block_count, case.select_block_size, case.page_block_size,
            table.shape[1], case.kv_len, case.d1 * element, case.d2 * element,
        )  # fmt: skip
        return _library().TimeLoadRows(self._bits, self.threads, ctypes.c_int64(ahead), ctypes.byref(loads))

    @staticmethod
    def loaded_sum():
        """Sum modulo 2**64 of the 64-bit words that the probes of this process have loaded."""
        return _library().Sink()
