# SPDX-License-Identifier: Apache-2.0
"""What the layers check before their operators do, in the same form; see checks.py."""

import functools

import mindspore as ms
import numpy as np
from mindspore import ops

from ms_nsa import checks

DTYPES = ms.float16, ms.bfloat16, ms.float32
COMPRESS, ROTARY = ("mean", "weighted", "linear"), ("before", "after", "none")


def check_sizes(name, **given):
    """Attributes of a layer: numbers of things, each with what others ask of it."""
    for argument, value in given.items():
        least = 0 if argument in ("init_blocks", "local_blocks") else 1
        checks.size_up_to(2**31 - 1, name, argument, value, least)
    if given["head_num"] % given["key_value_head_num"]:
        rule = f"be a multiple of key_value_head_num = {given['key_value_head_num']}"
        checks.fail(ValueError, name, "head_num", rule, given["head_num"])
    if given["compress_block_size"] < given["compress_stride"]:
        rule = f"be at least compress_stride = {given['compress_stride']}"
        checks.fail(ValueError, name, "compress_block_size", rule, given["compress_block_size"])
    if given["select_block_count"] < given["init_blocks"] + given["local_blocks"]:
        rule = f"be at least init_blocks + local_blocks = {given['init_blocks'] + given['local_blocks']}"
        checks.fail(ValueError, name, "select_block_count", rule, given["select_block_count"])


def check_choice(name, argument, value, choices):
    """Raises ValueError unless `value` is one of the strings."""
    if not isinstance(value, str) or value not in choices:
        checks.fail(ValueError, name, argument, "be " + " or ".join(map(repr, choices)), value)


def check_switch(name, argument, value):
    """Raises TypeError unless `value` is a bool."""
    if not isinstance(value, bool):
        checks.fail(TypeError, name, argument, "be a bool", value)


def check_dtype(name, argument, value):
    """Raises TypeError unless `value` is a dtype that the operators have."""
    if value not in DTYPES:
        checks.fail(TypeError, name, argument, "be mindspore.float16, bfloat16 or float32", value)


@ops.constexpr
def check_input(name, shape, dtype, hidden_size):
    """The layer's input: [T, hidden_size] or [B, S, hidden_size] in a float dtype."""
    if len(shape) not in (2, 3) or shape[-1] != hidden_size:
        rule = f"have shape [T, {hidden_size}] or [B, S, {hidden_size}]"
        checks.fail(ValueError, name, "x", rule, list(shape))
    if dtype not in DTYPES:
        checks.fail_dtype(name, "x", ["float16", "bfloat16", "float32"], str(dtype).lower())


@ops.constexpr
def check_shape(name, argument, shape, dims, wanted):
    """A tensor whose dimensions `dims` must be `wanted`, where -1 may be anything."""
    if len(shape) != len(wanted) or any(w not in (-1, s) for s, w in zip(shape, wanted)):
        sizes = ", ".join(d if w == -1 else str(w) for d, w in zip(dims.split(), wanted))
        checks.fail(ValueError, name, argument, f"have shape [{sizes}]", list(shape))


@ops.constexpr
def check_ends(name, ends, tokens):
    """Prefix sums as a tuple of ints, which end with the number of tokens; returns them so."""
    if isinstance(ends, ms.Tensor) or not isinstance(ends, (tuple, list, np.ndarray)):
        checks.fail(TypeError, name, "actual_seq_len", checks.LENGTHS, ends)
    ends = tuple(ends.tolist() if isinstance(ends, np.ndarray) else ends)
    for value in ends:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            checks.fail(TypeError, name, "actual_seq_len", "hold ints", value)
    if not ends:
        checks.fail(ValueError, name, "actual_seq_len", "hold at least one length", list(ends))
    for before, after in zip((0, *ends), ends):
        if after < before:
            checks.fail(RuntimeError, name, "actual_seq_len", "not decrease", list(ends))
    if tokens not in (-1, ends[-1]):
        checks.fail(RuntimeError, name, "actual_seq_len", f"end at T = {tokens}", ends[-1])
    return tuple(int(end) for end in ends)


@ops.constexpr
def batch_ends(batch, tokens):
    """Prefix sums of `batch` sequences of `tokens` tokens."""
    return tuple(tokens * (sequence + 1) for sequence in range(batch))


@functools.lru_cache(maxsize=64)
def _positions(ends, compress_block_size, compress_stride):
    lengths = np.diff(ends, prepend=0)
    raw = [np.arange(length) for length in lengths]
    windows = [np.arange(0, length - compress_block_size + 1, compress_stride) for length in lengths]
    starts = [first + rows for first, rows in zip((0, *ends), windows)]
    return tuple(ms.Tensor(np.concatenate(parts).astype(np.int32)) for parts in (raw, windows, starts))


@ops.constexpr
def positions_of(ends, compress_block_size, compress_stride):
    """Positions of all tokens, of the first rows of all windows, and where those rows lie among all; int32."""
    return _positions(ends, compress_block_size, compress_stride)
