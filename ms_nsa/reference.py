# SPDX-License-Identifier: Apache-2.0
"""Selected attention in float64 NumPy: the specification of the operators and the oracle of every test.

A query token carries, for each kv head, a row of ``topk_indices``: numbers of blocks of ``select_block_size``
consecutive kv rows, counted from the start of the token's own sequence. The N1 // N2 query heads of a group
share the row of their kv head. For one token and one kv head

- an index < 0 is absent, wherever it stands; an index >= ceil(Sk / select_block_size) is an error;
- a block listed c times weighs c times; the order of the slots means nothing; the last block ends with the
  sequence;
- selected rows that the causal rule or ``atten_mask`` (non-zero = drop) hides take no part at all;
- attention_out = softmax(scale_value * q k^T) v over the rows left; scale_value=None means 1 / sqrt(D1);
- with nothing left, attention_out is 0, softmax_max -inf, softmax_sum 0 and every gradient 0.
"""

import math

import numpy as np

STAT_LANES = 8


def select_attention(
    query, key, value, topk_indices, scale_value, select_block_size,
    atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None, sparse_mode=0,
):  # fmt: skip
    """Training forward over packed sequences.

    query [T1, N1, D1], key [T2, N2, D1], value [T2, N2, D2], topk_indices [T1, N2, count]; atten_mask
    [>= max Sq, >= max Sk], indexed by positions inside the sequence; actual_seq_qlen and actual_seq_kvlen are
    inclusive prefix sums, None means one sequence. sparse_mode 0: no causal rule; 2: query s sees kv rows
    j <= s; 3: query s sees rows j <= s + Sk - Sq.

    Returns attention_out [T1, N1, D2] and softmax_max, softmax_sum [T1, N1, 8]: the largest scaled score and
    the sum of exp(score - max) over the visible rows, repeated 8 times.

    >>> key = np.zeros((5, 1, 1))
    >>> value = np.array([1.0, 3.0, 9.0, 9.0, 7.0]).reshape(5, 1, 1)
    >>> topk_indices = np.array([[[0, -1]], [[2, 0]], [[-1, -1]]])  # blocks of two rows; block 2 is row 4
    >>> out, top, total = select_attention(np.ones((3, 1, 1)), key, value, topk_indices, 1.0, 2)
    >>> out.ravel().round(4).tolist(), top[..., 0].ravel().tolist(), total[..., 0].ravel().tolist()
    ([2.0, 3.6667, 0.0], [0.0, 0.0, -inf], [2.0, 3.0, 0.0])
    """
    query, key, value = float64(query, key, value)
    lengths = actual_seq_qlen, actual_seq_kvlen, len(key)
    selections = packed_selections(topk_indices, select_block_size, atten_mask, *lengths, sparse_mode)
    return with_lanes(*attend(query, key, value, scale_value, selections))


def select_attention_grad(
    grad, query, key, value, topk_indices, scale_value, select_block_size,
    atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None, sparse_mode=0,
    softmax_max_grad=None, softmax_sum_grad=None,
):  # fmt: skip
    """Exact gradient of select_attention: dq, dk, dv for ``grad`` [T1, N1, D2] of attention_out and, if given, the
    gradients [T1, N1, 8] of the statistics.

    Softmax and attention_out are recomputed in float64 instead of being taken from the forward, whose stored
    results are rounded: what a kernel loses by using the stored ones is part of its error.

    >>> q, k, v = np.ones((1, 1, 1)), np.zeros((2, 1, 1)), np.array([1.0, 3.0]).reshape(2, 1, 1)
    >>> gradients = select_attention_grad(4 * q, q, k, v, np.array([[[0]]]), 1.0, 2)
    >>> [gradient.ravel().tolist() for gradient in gradients]
    [[0.0], [-2.0, 2.0], [2.0, 2.0]]
    """
    query, key, value = float64(query, key, value)
    lengths = actual_seq_qlen, actual_seq_kvlen, len(key)
    selections = packed_selections(topk_indices, select_block_size, atten_mask, *lengths, sparse_mode)
    grads = grad, softmax_max_grad, softmax_sum_grad
    return attend_grad(grads, query, key, value, scale_value, selections)


def selected_attention_infer(
    query, key, value, topk_indices, block_table, actual_seq_qlen, actual_seq_kvlen, scale_value,
    head_num, key_value_head_num, select_block_size, page_block_size,
    layout="BSND", atten_mask=None, sparse_mode=0, return_softmax_lse=False, cache_layout="BSND",
):  # fmt: skip
    """Decode over a paged kv cache.

    query [B, S, N1 * D1] (layout BSH), [B, S, N1, D1] (BSND) or [T, N1, D1] (TND); key and value [num_blocks,
    page_block_size, N2, D], or the last two dimensions as one, or with cache_layout "BNSD" [num_blocks, N2,
    page_block_size, D]; topk_indices [B, S, N2, count], or
    [B, N2, count] when S = 1, or [T, N2, count] in TND. Row j of sequence b is row j % page_block_size of
    page block_table[b, j // page_block_size]. The lengths are per sequence; actual_seq_qlen=None means S
    tokens each, in TND one token each. Token i of a sequence sees rows j < kv_len - (q_len - 1 - i), under
    sparse_mode 2 only those with j <= i. atten_mask is indexed [i, j], or [b, i, j - (kv_len - q_len)] if it has three
    dimensions: then rows before the new tokens stay visible.

    Returns attention_out, shaped like query with D2 for D1, and with return_softmax_lse softmax_max and softmax_sum
    besides, [B, S, N1, 8] or in TND [T, N1, 8]. Token rows beyond q_len are 0 and see nothing.

    >>> value = np.arange(8.0).reshape(4, 2, 1, 1)  # four pages of two rows; the sequence is 6, 7, 2, 3, 0
    >>> topk_indices = np.array([[[[0]], [[1]]]])  # blocks of three: its two tokens select 6, 7, 2 and 3, 0
    >>> block_table = np.array([[3, 1, 0, -1]])
    >>> args = np.zeros((1, 2, 1, 1)), 0 * value, value, topk_indices, block_table, [2], [5], None, 1, 1, 3, 2
    >>> selected_attention_infer(*args).ravel().tolist()
    [5.0, 1.5]
    """
    query, key, value = float64(query, key, value)
    n1, n2, batch = head_num, key_value_head_num, len(actual_seq_kvlen)
    if cache_layout == "BNSD":
        key, value = key.swapaxes(1, 2), value.swapaxes(1, 2)
    d1, d2 = (math.prod(cache.shape[2:]) // n2 for cache in (key, value))
    leading = query.shape[: 1 if layout == "TND" else 2]
    s = 1 if layout == "TND" else leading[1]
    q_lens = [s] * batch if actual_seq_qlen is None else [int(n) for n in actual_seq_qlen]
    starts = np.cumsum([0, *q_lens]) if layout == "TND" else np.arange(batch) * s

    query, key, value = query.reshape(-1, n1, d1), key.reshape(-1, n2, d1), value.reshape(-1, n2, d2)
    topk_indices = np.reshape(topk_indices, (-1, n2, np.shape(topk_indices)[-1]))
    lengths = starts, q_lens, actual_seq_kvlen
    selections = paged_selections(
        topk_indices, select_block_size, atten_mask, *lengths, sparse_mode, block_table, page_block_size
    )
    attention_out, *statistics = with_lanes(*attend(query, key, value, scale_value, selections))
    attention_out = attention_out.reshape(*leading, *((n1 * d2,) if layout == "BSH" else (n1, d2)))
    if not return_softmax_lse:
        return attention_out
    return attention_out, *(array.reshape(*leading, n1, STAT_LANES) for array in statistics)


def packed_selections(topk_indices, select_block_size, atten_mask, q_ends, kv_ends, t2, sparse_mode):
    """Yields (token, kv head, kv rows of the packed tensor, count) wherever something is visible."""
    t1, n2, _ = np.shape(topk_indices)
    q_ends = [t1] if q_ends is None else [int(end) for end in q_ends]
    kv_ends = [t2] if kv_ends is None else [int(end) for end in kv_ends]
    for q_start, q_end, kv_start, kv_end in zip([0, *q_ends], q_ends, [0, *kv_ends], kv_ends):
        q_len, kv_len = q_end - q_start, kv_end - kv_start
        for s, head in np.ndindex(q_len, n2):
            limit = {0: kv_len, 2: s + 1, 3: s + 1 + kv_len - q_len}[sparse_mode]
            drop = None if atten_mask is None else atten_mask[s]
            indices = topk_indices[q_start + s, head]
            rows, count = visible_rows(indices, select_block_size, kv_len, limit, drop)
            if len(rows):
                yield q_start + s, head, kv_start + rows, count


def paged_selections(
    topk_indices, select_block_size, atten_mask, starts, q_lens, kv_lens, sparse_mode,
    block_table, page_block_size,
):  # fmt: skip
    """The same for a paged cache: rows count through all pages, in the order of the cache."""
    for b, (start, q_len, kv_len) in enumerate(zip(starts, q_lens, kv_lens)):
        pages = np.asarray(block_table[b], np.int64)
        for i, head in np.ndindex(q_len, np.shape(topk_indices)[1]):
            limit = kv_len - (q_len - 1 - i)
            if sparse_mode == 2:
                limit = min(limit, i + 1)
            drop = None if atten_mask is None else dropped_rows(atten_mask, b, i, q_len, kv_len)
            indices = topk_indices[start + i, head]
            rows, count = visible_rows(indices, select_block_size, kv_len, limit, drop)
            if len(rows):
                rows = pages[rows // page_block_size] * page_block_size + rows % page_block_size
                yield start + i, head, rows, count


def dropped_rows(atten_mask, sequence, token, q_len, kv_len):
    """What a mask of decode says of rows [0, kv_len) of a sequence, for one of its new tokens.

    >>> dropped_rows(np.array([[[0, 1], [1, 0]]]), 0, 1, 2, 5)
    array([0, 0, 0, 1, 0])
    """
    if np.ndim(atten_mask) == 2:
        return atten_mask[token]
    drop = np.zeros(kv_len, int)
    new = np.arange(max(0, q_len - kv_len), q_len)
    drop[kv_len - q_len + new] = np.asarray(atten_mask)[sequence, token, new]
    return drop


def visible_rows(indices, select_block_size, kv_len, limit, drop=None):
    """Rows that one token sees through one kv head, ascending, and how often each was selected.

    ``limit`` is the causal rule: only rows below it are visible; ``drop[j]`` hides row j.

    >>> visible_rows(np.array([3, -1, 0, 3]), 2, 7, limit=7)
    (array([0, 1, 6]), array([1, 1, 2]))
    """
    indices = np.asarray(indices, np.int64)
    blocks, count = np.unique(indices[indices >= 0], return_counts=True)
    num_blocks = -(-kv_len // select_block_size)
    if len(blocks) and blocks[-1] >= num_blocks:
        raise ValueError(f"topk_indices must be below {num_blocks}, got {blocks[-1]}")
    rows = (blocks[:, None] * select_block_size + np.arange(select_block_size)).ravel()
    visible = rows < min(limit, kv_len)
    rows, count = rows[visible], np.repeat(count, select_block_size)[visible]
    if drop is not None:
        kept = np.asarray(drop)[rows] == 0
        rows, count = rows[kept], count[kept]
    return rows, count


def attend(query, key, value, scale_value, selections):
    """Attention of query [T, N1, D1] over the selected rows of key and value [rows, N2, D]."""
    scale = scale_of(scale_value, query.shape[2])
    attention_out = np.zeros((*query.shape[:2], value.shape[2]))
    softmax_max = np.full((*query.shape[:2], 1), -np.inf)
    softmax_sum = np.zeros((*query.shape[:2], 1))
    for token, head, rows, count in selections:
        group = group_of(head, query.shape[1], key.shape[1])
        weights, top, total = softmax(query[token, group], key[rows, head], scale, count)
        attention_out[token, group] = weights @ value[rows, head]
        softmax_max[token, group] = top
        softmax_sum[token, group] = total
    return attention_out, softmax_max, softmax_sum


def attend_grad(grads, query, key, value, scale_value, selections):
    """dq, dk, dv for the gradients of attend's three results, None for a statistic without one.

    A statistic's gradient is [T, N1, lanes] and counts with the sum over its lanes. The maximum is the first of
    the largest scores.
    """
    scale = scale_of(scale_value, query.shape[2])
    grad = np.asarray(grads[0]).astype(np.float64)
    dq, dk, dv = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    of_statistics = [lane_sums(given, query.shape[:2]) for given in grads[1:]]
    for token, head, rows, count in selections:
        group = group_of(head, query.shape[1], key.shape[1])
        weights, _, total = softmax(query[token, group], key[rows, head], scale, count)
        dweights = grad[token, group] @ value[rows, head].T
        dscores = weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True))
        dtop, dtotal = (given[token, group] for given in of_statistics)
        if dtop.any() or dtotal.any():
            largest = first_largest(scale * (query[token, group] @ key[rows, head].T))
            dscores += dtotal * weights * total
            dscores[np.arange(len(largest)), largest] += (dtop - dtotal * total)[:, 0]
        dq[token, group] = scale * dscores @ key[rows, head]
        dk[rows, head] += scale * dscores.T @ query[token, group]
        dv[rows, head] += weights.T @ grad[token, group]
    return dq, dk, dv


def first_largest(scores):
    """The first of the largest scores of each row; those of equal keys may differ by their rounding.

    >>> first_largest(np.array([[1.0, 3.0 - 1e-15, 3.0]]))
    array([1])
    """
    top = scores.max(axis=1, keepdims=True)
    return (scores >= top - 1e-13 * np.abs(top)).argmax(axis=1)


def lane_sums(grad, shape):
    return np.zeros((*shape, 1)) if grad is None else np.asarray(grad).astype(np.float64).sum(axis=2, keepdims=True)


def with_lanes(attention_out, softmax_max, softmax_sum):
    return attention_out, np.repeat(softmax_max, STAT_LANES, axis=2), np.repeat(softmax_sum, STAT_LANES, axis=2)


def softmax(query, key, scale, count):
    """Weights [G, R] of the visible rows, row r counted count[r] times, and the statistics [G, 1]."""
    scores = scale * (query @ key.T)
    top = scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, as it should be
        exponentials = count * np.exp(scores - top)
    total = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total, top, total


def group_of(head, n1, n2):
    """The query heads of a kv head."""
    return slice(head * (n1 // n2), (head + 1) * (n1 // n2))


def float64(*arrays):
    return [np.asarray(array).astype(np.float64) for array in arrays]


def scale_of(scale_value, d1):
    return 1 / math.sqrt(d1) if scale_value is None else float(scale_value)
