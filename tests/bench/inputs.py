# SPDX-License-Identifier: Apache-2.0
"""Arrays for a benchmark case: SelectCase and PagedCase of the tests, at sizes that their generators do not reach."""

import functools
import zlib
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from bench.cases import DECODE, FORWARD, LOCAL
from support import DTYPES, PagedCase, SelectCase
from support.generators import random_array

LOCAL_BLOCKS = 2  # the newest blocks that a model always selects, besides the first one


def rng_of(case):
    return np.random.default_rng(zlib.crc32(case.name.encode()))


def distinct(rng, available, count):
    """`count` different numbers below each entry of `available` in random order; -1 where there are fewer.

    Floyd's sampling: slot by slot, and no scratch that grows with `available`.
    """
    chosen = np.full((*available.shape, count), -1, np.int32)
    for slot in range(count):
        top = available - count + slot
        drawn = np.floor(rng.random(available.shape) * (top + 1)).astype(np.int32)
        taken = (chosen[..., :slot] == drawn[..., None]).any(axis=-1)
        chosen[..., slot] = np.where(top < 0, -1, np.where(taken, top, drawn))
    return rng.permuted(chosen, axis=-1)


def local_plus_random(rng, own, count):
    """The first block, the query's own and the one before, and different ones between; `own` is [..., heads]."""
    newest = [np.where(own >= back, own - back, -1) for back in range(LOCAL_BLOCKS)]
    first = np.where(own >= LOCAL_BLOCKS, 0, -1)
    between = distinct(rng, np.maximum(own - LOCAL_BLOCKS, 0), count - LOCAL_BLOCKS - 1)
    fixed = np.stack([first, *newest], axis=-1).astype(np.int32)
    return np.concatenate([fixed, np.where(between < 0, -1, between + 1)], axis=-1)


def select_inputs(case):
    """The SelectCase of a training case; a local selection goes with the causal rule."""
    rng, dtype = rng_of(case), DTYPES[case.dtype]
    heads, blocks = (case.t1, case.n2), -(-case.t2 // case.select_block_size)
    if case.selection == LOCAL:
        own = (np.arange(case.t1) + case.t2 - case.t1) // case.select_block_size
        topk = local_plus_random(rng, np.broadcast_to(own[:, None], heads), case.select_block_count)
    else:
        topk = distinct(rng, np.full(heads, blocks), case.select_block_count)
    grad_shape = (case.t1, case.n1, case.d2)
    needs_grad = case.operator != FORWARD
    return SelectCase(
        query=random_array(rng, (case.t1, case.n1, case.d1), dtype),
        key=random_array(rng, (case.t2, case.n2, case.d1), dtype),
        value=random_array(rng, (case.t2, case.n2, case.d2), dtype),
        grad=random_array(rng, grad_shape, dtype) if needs_grad else np.broadcast_to(dtype(0), grad_shape),
        topk_indices=topk,
        select_block_size=case.select_block_size,
        sparse_mode=3 if case.selection == LOCAL else 0,
        name=case.name,
    )


@dataclass
class DecodeInputs:
    """A cache of many sequences and the calls that decode `batch` of them in turn."""

    key: np.ndarray  # [num_blocks, page_block_size, N2, D1]
    value: np.ndarray
    calls: list  # dicts of query, topk_indices, block_table


@functools.lru_cache(maxsize=1)
def cache_arrays(sequences, kv_len, page_block_size, n2, d1, d2, dtype):
    """Key and value cache, kept for the next case: the large one takes seconds to fill."""
    rng = np.random.default_rng(1)
    shape = sequences * kv_len // page_block_size, page_block_size, n2
    return tuple(_filled(rng, (*shape, d), DTYPES[dtype]) for d in (d1, d2))


def _filled(rng, shape, dtype):
    """Random values; in bfloat16 random bits give signs and magnitudes from 0.5 to 2, far faster than a bell curve."""
    if dtype != ml_dtypes.bfloat16:
        return random_array(rng, shape, dtype)
    array = np.empty(shape, np.uint16)
    for page in array:
        page[...] = rng.integers(0, 1 << 16, page.shape, np.uint16) & 0x80FF | 0x3F00
    return array.view(dtype)


def decode_inputs(case):
    rng = rng_of(case)
    size, batch = case.select_block_size, case.batch
    key, value = cache_arrays(case.sequences, case.kv_len, case.page_block_size, case.n2, case.d1, case.d2, case.dtype)
    tables = rng.permutation(len(key)).astype(np.int32).reshape(case.sequences, -1)
    heads, blocks = (case.sequences, 1, case.n2), -(-case.kv_len // size)
    if case.selection == LOCAL:
        topk = local_plus_random(rng, np.full(heads, blocks - 1), case.select_block_count)
    else:
        topk = distinct(rng, np.full(heads, blocks), case.select_block_count)
    query = random_array(rng, (case.sequences, 1, case.n1, case.d1), DTYPES[case.dtype])
    calls = [
        {"query": query[b : b + batch], "topk_indices": topk[b : b + batch], "block_table": tables[b : b + batch]}
        for b in range(0, case.sequences, batch)
    ]
    return DecodeInputs(key, value, calls)


def one_sequence(case, made, call, row):
    """The PagedCase of one sequence of a call, with only its own pages, in order: small enough for the oracle."""
    pages = call["block_table"][row]
    return PagedCase(
        query=call["query"][row : row + 1],
        key=made.key[pages],
        value=made.value[pages],
        topk_indices=call["topk_indices"][row : row + 1],
        block_table=np.arange(len(pages), dtype=np.int32)[None],
        actual_seq_qlen=None,
        actual_seq_kvlen=(case.kv_len,),
        head_num=case.n1,
        key_value_head_num=case.n2,
        select_block_size=case.select_block_size,
        page_block_size=case.page_block_size,
        name=case.name,
    )


def make(case):
    """The inputs of a case of any operator."""
    return decode_inputs(case) if case.operator == DECODE else select_inputs(case)


def topk_of_call(case, made):
    """topk_indices [tokens, N2, count] of one call."""
    return made.calls[0]["topk_indices"][:, 0] if case.operator == DECODE else made.topk_indices
