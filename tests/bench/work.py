# SPDX-License-Identifier: Apache-2.0
"""Work of an operator: FLOP, and bytes when every selected row is gathered for every token and kv head.

The selected rows are counted, not assumed: a causal rule or the end of the sequence clips blocks.
"""

import math

import numpy as np

from bench.cases import BACKWARD, DECODE, FORWARD, LOCAL, TRAINING

STATISTICS_BYTES = 64  # of a token and query head: 8 lanes of float32, max and sum
_ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def selected_rows(case, topk_indices):
    """Sum over tokens and kv heads of the visible rows; `topk_indices` is [tokens, N2, count], no block twice."""
    size = case.select_block_size
    if case.operator == DECODE:
        limit = np.full(len(topk_indices), case.kv_len)
    elif case.selection == LOCAL:
        limit = np.minimum(np.arange(case.t1) + 1 + case.t2 - case.t1, case.t2)
    else:
        limit = np.full(case.t1, case.t2)
    rows = np.clip(limit[:, None, None] - topk_indices.astype(np.int64) * size, 0, size)
    return int(np.where(topk_indices < 0, 0, rows).sum())


def flop(case, rows):
    """Floating point operations for `rows` selected rows."""
    products = {
        FORWARD: case.d1 + case.d2,
        BACKWARD: 3 * case.d1 + 2 * case.d2,
        TRAINING: 4 * case.d1 + 3 * case.d2,
        DECODE: case.d1 + case.d2,
    }
    return 2 * rows * case.group * products[case.operator]


def row_bytes(case, rows):
    """Bytes of the selected key and value rows: what a loop that only loads them reads."""
    return _ELEMENT_BYTES[case.dtype] * rows * (case.d1 + case.d2)


def gather_bytes(case, rows):
    """All bytes of an implementation that gathers: rows, queries, results, indices and statistics."""
    if case.operator == TRAINING:
        return _forward_bytes(case, rows) + _backward_bytes(case, rows)
    return {FORWARD: _forward_bytes, BACKWARD: _backward_bytes, DECODE: _decode_bytes}[case.operator](case, rows)


def _forward_bytes(case, rows):
    heads = case.t1 * case.n1
    ends = _ELEMENT_BYTES[case.dtype] * heads * (case.d1 + case.d2)
    return row_bytes(case, rows) + ends + 4 * case.t1 * case.n2 * case.select_block_count + STATISTICS_BYTES * heads


def _backward_bytes(case, rows):
    element, heads, dims = _ELEMENT_BYTES[case.dtype], case.t1 * case.n1, case.d1 + case.d2
    scatter = 8 * rows * dims
    ends = element * heads * (case.d1 + 2 * case.d2) + (STATISTICS_BYTES + 4 * case.d1) * heads
    casts = (4 + element) * (heads * case.d1 + case.t2 * case.n2 * dims)
    return row_bytes(case, rows) + scatter + ends + casts


def _decode_bytes(case, rows):
    ends = _ELEMENT_BYTES[case.dtype] * case.batch * case.n1 * (case.d1 + case.d2)
    indices = 4 * case.batch * (case.n2 * case.select_block_count + case.kv_len // case.page_block_size)
    return row_bytes(case, rows) + ends + indices


def break_even(ours, dense):
    """Length from which selected attention is faster than dense: between the two measured lengths, on log scales.

    None if one of them is faster at every common length.
    """
    ours, dense = dict(ours), dict(dense)
    common = sorted(set(ours) & set(dense))
    gain = [math.log(dense[t] / ours[t]) for t in common]
    for left, right, before, after in zip(common, common[1:], gain, gain[1:]):
        if before < 0 <= after:
            return math.exp(math.log(left) + math.log(right / left) * -before / (after - before))
    return None
