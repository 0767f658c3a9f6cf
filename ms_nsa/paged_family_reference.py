# SPDX-License-Identifier: Apache-2.0
"""The decoding forms of family_reference.py over paged caches; row j of a sequence is row j % page_block_size of
page block_table[b, j // page_block_size].

Lengths are per sequence and count raw rows, the new tokens included: token i of q new ones stands at position
p = L - q + i and sees what a training token at p sees under sparse_mode 3. actual_seq_qlen=None means S tokens per
sequence, in TND one. Caches are [num_pages, page_block_size, N2, D], or the last two dimensions as one, and with
cache_layout "BNSD" [num_pages, N2, page_block_size, D].
"""

import math
from typing import NamedTuple

import numpy as np

from ms_nsa.family_rules import (
    Choice,
    Sequences,
    Sliding,
    Windows,
    attend_and_choose,
    compress_window,
    input_and_weight,
    visible_selections,
    window_count,
)
from ms_nsa.reference import attend, with_lanes


def nsa_compress_infer(
    input, weight, slot_mapping, compress_block_size, compress_stride, page_block_size, block_table=None,
    actual_seq_len=None, cache=None, actual_seq_qlen=None, cache_layout="BSND",
):  # fmt: skip
    """The compressed rows of the windows that end within the newest actual_seq_qlen (None: 1 each) raw rows.

    slot_mapping [B] or [B, k] says where in the compressed cache they go: entry i is the row page * its page size +
    offset of the i-th such window, negative to drop it. Entries without a window are not read.

    Returns rows [B, k, N2, D] and slots int32 [B, k]; where there is nothing to write the row is 0 and the slot -1.
    ``cache`` [slots, N2, D] (or pages of such rows) is written in place. Without weight, an input with N2 and D as
    one dimension counts as one head.

    >>> pages, weight = np.arange(8.0).reshape(4, 2, 1, 1), np.ones((3, 1))  # the sequence is 6, 7, 0, 1, 4
    >>> rows, slots = nsa_compress_infer(pages, weight, [[9, 8]], 3, 2, 2, [[3, 0, 2]], [5], actual_seq_qlen=[3])
    >>> rows.ravel().tolist(), slots.tolist()
    ([13.0, 5.0], [[9, 8]])
    >>> nsa_compress_infer(pages, weight, [9], 3, 2, 2, [[3, 0, 2]], [4])[1].tolist()
    [[-1]]
    """
    n2 = heads_of(input, weight, cache_layout)
    input, weight = input_and_weight(cache_rows(input, n2, page_block_size, cache_layout), weight, compress_block_size)
    lens = required("actual_seq_len", actual_seq_len)
    place = page_lookup(block_table, page_block_size, len(input) // page_block_size)
    slot_mapping = np.asarray(slot_mapping, np.int64)
    slot_mapping = slot_mapping[:, None] if slot_mapping.ndim == 1 else slot_mapping
    q_lens = [1] * len(lens) if actual_seq_qlen is None else actual_seq_qlen
    if not len(slot_mapping) == len(q_lens) == len(lens):
        raise ValueError(f"slot_mapping and actual_seq_qlen must be of {len(lens)} sequences as actual_seq_len")
    rows, slots = np.zeros((*slot_mapping.shape, *input.shape[1:])), np.full(slot_mapping.shape, -1, np.int32)
    for b, i, start in new_windows(q_lens, lens, compress_block_size, compress_stride):
        if i == slot_mapping.shape[1]:
            raise ValueError(f"slot_mapping must have a slot for every new window, got {i} per sequence")
        if slot_mapping[b, i] >= 0:
            rows[b, i] = compress_window(input[place(b, start + np.arange(compress_block_size))], weight)
            slots[b, i] = slot_mapping[b, i]
    if cache is not None:
        write_rows(cache, rows[slots >= 0], slots[slots >= 0], cache_layout)
    return rows, slots


def nsa_compress_attention_infer(
    query, key, value, scale_value, head_num, key_value_head_num, select_block_size, select_block_count,
    page_block_size, compress_block_size, compress_stride, layout="BSND", atten_mask=None, block_table=None,
    topk_mask=None, actual_seq_qlen=None, actual_cmp_seq_kvlen=None, actual_sel_seq_kvlen=None, init_blocks=1,
    local_blocks=2, return_softmax_lse=False, cache_layout="BSND",
):  # fmt: skip
    """nsa_compress_attention for new tokens over the paged cache of compressed rows.

    query [B, S, N1 * D1] (layout BSH), [B, S, N1, D1] (BSND) or [T, N1, D1] (TND). actual_sel_seq_kvlen are raw
    rows; actual_cmp_seq_kvlen are compressed rows and must agree. Raw rows that are not given are taken to be as few
    as the compressed rows and the new tokens allow. The masks must be None.

    Returns attention_out like query with D2 for D1 and topk_indices [B, S, N2, select_block_count], in TND
    [T, N2, select_block_count]; return_softmax_lse adds softmax_max and softmax_sum, [B, S, N1, 8] or [T, N1, 8].
    Tokens beyond actual_seq_qlen get what a token gets that sees nothing and has no candidate.

    >>> query, key, value = np.zeros((1, 3, 1, 1)), np.zeros((3, 2, 1, 1)), np.arange(6.0).reshape(3, 2, 1, 1)
    >>> rule = {"block_table": [[2, 0]], "actual_sel_seq_kvlen": [9], "init_blocks": 0, "local_blocks": 1}
    >>> out, topk = nsa_compress_attention_infer(query, key, value, 1.0, 1, 1, 4, 2, 2, 4, 2, **rule)
    >>> out.ravel().tolist(), topk[0, :, 0].tolist()  # the compressed rows are 4, 5 and 0
    ([4.5, 3.0, 3.0], [[0, 1], [0, 1], [0, 2]])
    """
    for name, mask in (("atten_mask", atten_mask), ("topk_mask", topk_mask)):
        if mask is not None:
            raise ValueError(f"{name} must be None, got a mask")
    windows = Windows(compress_block_size, compress_stride)
    tokens = new_tokens(query, layout, head_num, block_table, actual_seq_qlen)
    kv_lens = raw_lengths(tokens.q_lens, windows, actual_cmp_seq_kvlen, actual_sel_seq_kvlen)
    caches = [cache_rows(cache, key_value_head_num, page_block_size, cache_layout) for cache in (key, value)]
    sequences = paged_sequences(tokens, kv_lens, block_table, page_block_size, len(key))
    choice = Choice(select_block_size, select_block_count, init_blocks, local_blocks)
    out, topk, *statistics = attend_and_choose(tokens.query, *caches, scale_value, sequences, windows, choice)
    topk = topk.reshape(*tokens.shape, *topk.shape[1:])
    return (like_query(out, layout, tokens), topk, *statistics_of(tokens, statistics, return_softmax_lse))


def nsa_window_attention_infer(
    query, key, value, scale_value, head_num, key_value_head_num, window_size, page_block_size, layout="BSND",
    block_table=None, actual_seq_qlen=None, actual_seq_kvlen=None, return_softmax_lse=False, cache_layout="BSND",
):  # fmt: skip
    """nsa_window_attention for new tokens over a paged cache of raw rows; query and result as in
    nsa_compress_attention_infer. return_softmax_lse=False gives attention_out alone.

    >>> query, value = np.zeros((1, 2, 1, 1)), np.arange(6.0).reshape(3, 2, 1, 1)  # the sequence is 4, 5, 0
    >>> args = query, 0 * value, value, None, 1, 1, 2, 2
    >>> nsa_window_attention_infer(*args, block_table=[[2, 0]], actual_seq_kvlen=[3]).ravel().tolist()
    [4.5, 2.5]
    """
    tokens = new_tokens(query, layout, head_num, block_table, actual_seq_qlen)
    kv_lens = [int(n) for n in required("actual_seq_kvlen", actual_seq_kvlen)]
    key, value = (cache_rows(cache, key_value_head_num, page_block_size, cache_layout) for cache in (key, value))
    sequences = paged_sequences(tokens, kv_lens, block_table, page_block_size, len(key) // page_block_size)
    selections = visible_selections(sequences, key_value_head_num, Sliding(window_size))
    out, *statistics = with_lanes(*attend(tokens.query, key, value, scale_value, selections))
    out, statistics = like_query(out, layout, tokens), statistics_of(tokens, statistics, return_softmax_lse)
    return (out, *statistics) if return_softmax_lse else out


class Tokens(NamedTuple):
    """The new tokens of a call."""

    query: np.ndarray  # [tokens, N1, D1], padded ones included
    shape: tuple  # (T,) or (B, S)
    starts: list
    q_lens: list


def new_tokens(query, layout, head_num, block_table, actual_seq_qlen):
    query, batch = np.asarray(query).astype(np.float64), len(required("block_table", block_table))
    shape = query.shape[: 1 if layout == "TND" else 2]
    each = 1 if layout == "TND" else shape[1]
    q_lens = [each] * batch if actual_seq_qlen is None else [int(n) for n in actual_seq_qlen]
    fits = sum(q_lens) == shape[0] if layout == "TND" else max(q_lens, default=0) <= each
    if len(q_lens) != batch or not fits:
        raise ValueError(f"actual_seq_qlen must fit {batch} sequences and query {query.shape}, got {q_lens}")
    starts = np.cumsum([0, *q_lens[:-1]]) if layout == "TND" else np.arange(batch) * each
    d1 = math.prod(query.shape[len(shape) :]) // head_num
    return Tokens(query.reshape(math.prod(shape), head_num, d1), shape, starts.tolist(), q_lens)


def raw_lengths(q_lens, windows, cmp_lens, kv_lens):
    """Raw rows per sequence, from compressed ones where they are not given."""
    counts = None if cmp_lens is None else [int(n) for n in cmp_lens]
    size, stride, _ = windows
    if kv_lens is None:
        least = [0 if n == 0 else (n - 1) * stride + size for n in required("actual_cmp_seq_kvlen", counts)]
        kv_lens = [max(n, q_len) for n, q_len in zip(least, q_lens)]
    kv_lens = [int(n) for n in kv_lens]
    expected = [window_count(n, size, stride) for n in kv_lens]
    if counts not in (None, expected):
        raise ValueError(f"actual_cmp_seq_kvlen must be {expected}, got {counts}")
    return kv_lens


def paged_sequences(tokens, kv_lens, block_table, page_block_size, num_pages):
    if len(kv_lens) != len(tokens.q_lens):
        raise ValueError(f"lengths of keys must be {len(tokens.q_lens)} numbers, got {kv_lens}")
    return Sequences(tokens.starts, tokens.q_lens, kv_lens, page_lookup(block_table, page_block_size, num_pages))


def page_lookup(block_table, page_block_size, num_pages):
    """The function (sequence, rows counted inside it) -> rows counted through all pages."""
    block_table = np.asarray(required("block_table", block_table), np.int64)

    def place(sequence, rows):
        if rows.max(initial=0) // page_block_size >= block_table.shape[1]:
            raise ValueError(f"block_table must have a page for row {rows.max()}, got shape {block_table.shape}")
        pages = block_table[sequence, rows // page_block_size]
        if (pages < 0).any() or (pages >= num_pages).any():
            raise ValueError(f"block_table must name pages below {num_pages}, got {pages.tolist()}")
        return pages * page_block_size + rows % page_block_size

    return place


def cache_rows(cache, n2, page_block_size, cache_layout):
    """A paged cache in float64 as [num_pages * page_block_size, N2, D]."""
    cache = np.asarray(cache).astype(np.float64)
    cache = cache.swapaxes(1, 2) if cache_layout == "BNSD" else cache
    if cache.shape[1] != page_block_size:
        raise ValueError(f"page_block_size must be {cache.shape[1]} as in the cache, got {page_block_size}")
    return cache.reshape(len(cache) * page_block_size, n2, math.prod(cache.shape[2:]) // n2)


def new_windows(q_lens, lens, compress_block_size, compress_stride):
    """(sequence, number among its new windows, first raw row) of the windows that end within the new rows."""
    for sequence, (q_len, rows) in enumerate(zip(q_lens, lens)):
        before, after = (window_count(int(n), compress_block_size, compress_stride) for n in (rows - q_len, rows))
        for number, window in enumerate(range(before, after)):
            yield sequence, number, window * compress_stride


def write_rows(cache, rows, slots, cache_layout):
    """Writes rows [count, N2, D] to the slots of a cache of rows or of pages."""
    if cache_layout == "BNSD":
        page_size = cache.shape[2]
        cache.swapaxes(1, 2)[slots // page_size, slots % page_size] = rows
    else:
        flat = cache.reshape(-1, *rows.shape[1:])
        if not np.shares_memory(flat, cache):
            raise ValueError("cache must be contiguous, got a view with gaps")
        flat[slots] = rows


def heads_of(input, weight, cache_layout):
    """N2 of a paged cache of raw rows."""
    if weight is not None:
        return np.shape(weight)[1]
    return 1 if np.ndim(input) == 3 else np.shape(input)[1 if cache_layout == "BNSD" else 2]


def like_query(attention_out, layout, tokens):
    row = attention_out.shape[1:]
    return attention_out.reshape(*tokens.shape, *((math.prod(row),) if layout == "BSH" else row))


def statistics_of(tokens, statistics, wanted):
    return [array.reshape(*tokens.shape, *array.shape[1:]) for array in statistics] if wanted else []


def required(name, argument):
    if argument is None:
        raise ValueError(f"{name} must be given, got None")
    return argument
