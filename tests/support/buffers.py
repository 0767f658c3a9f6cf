# SPDX-License-Identifier: Apache-2.0
"""Hostile memory: outputs full of NaN, arrays that end at an inaccessible page, views with gaps."""

import ctypes
import mmap

import numpy as np

_PROT_NONE = 0


def nan_filled(shape, dtype):
    """An output that shows every element a kernel forgot to write."""
    return np.full(shape, np.nan, dtype)


def guarded(array):
    """A copy whose last byte lies before an inaccessible page: reading or writing beyond it faults."""
    pages = -(-max(array.nbytes, 1) // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    guard = ctypes.c_void_p(start + pages * mmap.PAGESIZE)
    if libc.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect failed")
    copy = np.frombuffer(memory, np.uint8, array.nbytes, pages * mmap.PAGESIZE - array.nbytes)
    copy = copy.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def scattered(array):
    """An equal array that is not contiguous: every second element of one with garbage in between."""
    wide = np.full((*array.shape, 2), 77, array.dtype)
    wide[..., 0] = array
    return wide[..., 0]
