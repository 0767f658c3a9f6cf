# SPDX-License-Identifier: Apache-2.0
"""What the oracles of the family share: where rows lie, what a token sees, what it chooses, and the gradient of
attention. family_reference.py states the rules in words."""

from typing import Callable, NamedTuple, Optional

import numpy as np

from ms_nsa.reference import attend, float64, group_of, scale_of, softmax, with_lanes


class Sequences(NamedTuple):
    """Where the tokens and the rows of every sequence lie."""

    starts: list  # first token
    q_lens: list  # tokens
    kv_lens: list  # raw rows
    place: Callable  # (sequence, rows counted inside it) -> rows of key and value


class Visit(NamedTuple):
    """One token at one kv head."""

    token: int
    head: int
    sequence: int
    index: int  # of the token in its sequence
    position: int  # of the token among the raw rows of its sequence
    kv_len: int  # raw rows of its sequence
    first: int  # it sees the rows first <= j < end of its sequence that no mask drops
    end: int


class Windows(NamedTuple):
    """Compressed rows, and which of them a token sees."""

    compress_block_size: int
    compress_stride: int
    sparse_mode: int = 3

    def visible(self, position, kv_len):
        limit = kv_len if self.sparse_mode == 0 else min(position + 1, kv_len)
        return 0, window_count(limit, self.compress_block_size, self.compress_stride)


class Sliding(NamedTuple):
    """Which raw rows a token sees through a sliding window."""

    window_size: int
    sparse_mode: int = 3

    def visible(self, position, kv_len):
        return max(0, position + 1 - self.window_size), position + 1


class Choice(NamedTuple):
    """What decides about the blocks of a token beside their importance."""

    select_block_size: int
    select_block_count: int
    init_blocks: int
    local_blocks: int
    topk_mask: Optional[np.ndarray] = None


def visits(sequences, key_heads, sight):
    """Every token at every kv head; ``sight`` is the rule of what it sees, Windows or Sliding."""
    for sequence, (start, q_len, kv_len) in enumerate(zip(*sequences[:3])):
        for index, head in np.ndindex(q_len, key_heads):
            position = index if sight.sparse_mode == 2 else index + kv_len - q_len
            seen = sight.visible(position, kv_len)
            yield Visit(start + index, head, sequence, index, position, kv_len, *seen)


def rows_seen(visit, atten_mask=None):
    """Rows that a visit sees, counted inside its sequence, ascending."""
    rows = np.arange(visit.first, visit.end)
    return rows if atten_mask is None else rows[np.asarray(atten_mask)[visit.index, rows] == 0]


def visible_selections(sequences, key_heads, sight, atten_mask=None):
    """(token, kv head, rows of key and value, 1) wherever something is visible, for reference.attend."""
    for visit in visits(sequences, key_heads, sight):
        rows = rows_seen(visit, atten_mask)
        if len(rows):
            yield visit.token, visit.head, sequences.place(visit.sequence, rows), 1


def attend_and_choose(query, key, value, scale_value, sequences, windows, choice, atten_mask=None):
    """attention_out, topk_indices and the statistics with their lanes."""
    selections = visible_selections(sequences, key.shape[1], windows, atten_mask)
    attention_out, top, total = with_lanes(*attend(query, key, value, scale_value, selections))
    topk_indices = np.full((len(query), key.shape[1], choice.select_block_count), -1, np.int32)
    sizes = windows, choice.select_block_size
    for visit, importance in block_importance(query, key, scale_value, sequences, *sizes, atten_mask):
        blocks = choose(importance, forced_blocks(visit, len(importance), choice), choice.select_block_count)
        topk_indices[visit.token, visit.head, : len(blocks)] = blocks
    return attention_out, topk_indices, top, total


def block_importance(query, key, scale_value, sequences, windows, select_block_size, atten_mask=None):
    """Yields each visit with the importance of its candidates."""
    scale = scale_of(scale_value, query.shape[2])
    overlap = block_overlap(max(sequences.kv_lens, default=0), windows, select_block_size)
    for visit in visits(sequences, key.shape[1], windows):
        last = visit.kv_len - 1 if windows.sparse_mode == 0 else min(visit.position, visit.kv_len - 1)
        importance = np.zeros(max(0, last // select_block_size + 1))
        seen = rows_seen(visit, atten_mask)
        if len(seen):
            group = group_of(visit.head, query.shape[1], key.shape[1])
            rows = sequences.place(visit.sequence, seen)
            weights, _, _ = softmax(query[visit.token, group], key[rows, visit.head], scale, 1)
            shared = overlap[seen, : len(importance)]
            # Not a product of matrices: a NaN times 0 must not reach blocks that share no row with its window.
            importance += np.where(shared > 0, weights.sum(axis=0)[:, None] * shared, 0).sum(axis=0)
        yield visit, importance


def block_overlap(rows, windows, select_block_size, shift=0):
    """[windows, blocks]: raw rows that a window shares with a block / compress_stride.

    A ``shift`` only explains the results of others, who take the overlap of window c - shift for that of window c:
    1 is CANN's numbering, 1 - select_block_size // compress_stride that of the paper's equation 9 read with windows
    and blocks counted from 0.

    >>> for shift in (0, 1, -3):  # weights of windows 0 to 8 in block 1
    ...     block_overlap(160, Windows(32, 16), 64, shift)[:, 1].tolist()
    [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 1.0, 0.0]
    [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 1.0]
    [1.0, 2.0, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    size, stride, _ = windows
    window = (np.arange(window_count(rows, size, stride))[:, None] - shift) * stride
    block = np.arange(block_count(rows, select_block_size))[None, :] * select_block_size
    shared = np.minimum(window + size, block + select_block_size) - np.maximum(window, block)
    return np.maximum(shared, 0) / stride


def forced_blocks(visit, candidates, choice):
    """[candidates]: which of them are chosen whatever their importance."""
    block, own = np.arange(candidates), visit.position // choice.select_block_size
    forced = (block < choice.init_blocks) | ((block > own - choice.local_blocks) & (block <= own))
    if choice.topk_mask is not None:
        forced |= np.asarray(choice.topk_mask)[visit.index, :candidates] != 0
    return forced


def choose(importance, forced, count):
    """The chosen candidates in ascending order.

    >>> importance, forced = np.array([1.0, 5.0, 5.0, np.nan, 0.0]), np.array([False, False, False, False, True])
    >>> [choose(importance, forced, count).tolist() for count in range(4)]
    [[], [4], [3, 4], [1, 3, 4]]
    """
    rank = np.where(np.isnan(importance), np.inf, importance)
    rank = np.where(forced, 0, rank)  # among forced blocks only the number decides
    best = np.lexsort((np.arange(len(rank)), -rank, ~forced))
    return np.sort(best[:count])


def compressed_sequences(query, key, head_num, windows, q_ends, kv_ends, cmp_ends=None):
    """Packed sequences whose keys are compressed rows."""
    q_ends = packed_ends("actual_seq_qlen", q_ends, len(query))
    kv_ends = q_ends if kv_ends is None else packed_ends("actual_seq_kvlen", kv_ends)
    counts = [window_count(n, *windows[:2]) for n in np.diff(kv_ends, prepend=0).tolist()]
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    if cmp_ends is not None and [int(end) for end in cmp_ends] != ends:
        raise ValueError(f"actual_cmp_seq_kvlen must be {ends}, got {list(cmp_ends)}")
    if len(key) < sum(counts):
        raise ValueError(f"key must have at least {sum(counts)} rows, got {len(key)}")
    return packed_sequences(query, head_num, q_ends, kv_ends, [0, *ends])


def raw_sequences(query, key, head_num, q_ends, kv_ends):
    """Packed sequences whose keys are raw rows."""
    kv_ends = q_ends if kv_ends is None else kv_ends
    q_ends = packed_ends("actual_seq_qlen", q_ends, len(query))
    kv_ends = packed_ends("actual_seq_kvlen", kv_ends, len(key))
    return packed_sequences(query, head_num, q_ends, kv_ends, [0, *kv_ends])


def packed_sequences(query, head_num, q_ends, kv_ends, row_starts):
    if head_num != query.shape[1]:
        raise ValueError(f"head_num must be {query.shape[1]} as in query, got {head_num}")
    if len(q_ends) != len(kv_ends):
        raise ValueError(f"actual_seq_kvlen must have {len(q_ends)} entries, got {len(kv_ends)}")
    lens = (np.diff(ends, prepend=0).tolist() for ends in (q_ends, kv_ends))
    return Sequences([0, *q_ends[:-1]], *lens, lambda sequence, rows: row_starts[sequence] + rows)


def packed_ends(name, ends, rows=None):
    """Inclusive prefix sums as a list; None means one sequence of all ``rows``, where a given list must end."""
    ends = [rows] if ends is None else [int(end) for end in ends]
    if any(end < start for start, end in zip([0, *ends], ends)):
        raise ValueError(f"{name} must not decrease, got {ends}")
    if rows is not None and (ends or [0])[-1] != rows:
        raise ValueError(f"{name} must end with {rows}, got {ends}")
    return ends


def window_count(rows, compress_block_size, compress_stride):
    return 0 if rows < compress_block_size else (rows - compress_block_size) // compress_stride + 1


def block_count(rows, select_block_size):
    return -(-rows // select_block_size)


def window_starts(ends, compress_block_size, compress_stride):
    """First rows of the windows of all packed sequences."""
    return [
        start + window * compress_stride
        for start, end in zip([0, *ends], ends)
        for window in range(window_count(end - start, compress_block_size, compress_stride))
    ]


def compress_window(rows, weight):
    """One compressed row [N2, D]; rows [compress_block_size, N2, D] are added in ascending order."""
    return (weight[:, :, None] * rows).sum(axis=0)


def input_and_weight(input, weight, compress_block_size):
    """Both in float64; no weight means the mean of a window."""
    (input,) = float64(input)
    if weight is None:
        return input, np.full((compress_block_size, input.shape[-2]), 1 / compress_block_size)
    return input, np.asarray(weight).astype(np.float64)
