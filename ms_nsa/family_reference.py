# SPDX-License-Identifier: Apache-2.0
"""The other operators of native sparse attention in float64 NumPy: compression, attention over compressed rows
with the choice of blocks, and the sliding window, each with its gradient. Their oracle, as reference.py is for
selected attention; paged_family_reference.py has the forms for decoding.

A window is ``compress_block_size`` consecutive raw rows of one sequence; windows start at multiples of
``compress_stride``, counted from the start of the sequence, and end inside it. Compression makes one row per
window and kv head. A block is ``select_block_size`` raw rows, as in reference.py; the last one may be shorter.

Query s of a sequence stands at position p = s + Sk - Sq of its raw rows; under sparse_mode 2 at p = s.

- A query sees the windows that end at or before p, with sparse_mode 0 all windows of its sequence. A
  sliding window shows the ``window_size`` raw rows that end with row p. What it cannot see takes no part.
- The importance of block j is the sum over visible windows of rows shared with the block / compress_stride *
  probability of the window, summed over the query heads of the group.
- Candidates are the blocks up to the one that holds p, with sparse_mode 0 all blocks of the sequence. Forced
  are the first ``init_blocks``, those of the ``local_blocks`` that end with the block of p, and those that
  ``topk_mask`` names (non-zero). A token's row of topk_indices holds its forced candidates, then the most important
  ones, NaN before numbers and the smaller block first among equals, in ascending order and padded with -1. If
  more than ``select_block_count`` are forced, the smallest of them stay.
- With nothing visible attention_out is 0, softmax_max -inf, softmax_sum 0, every gradient and importance 0.
"""

import numpy as np

from ms_nsa.family_rules import (
    Choice,
    Sliding,
    Windows,
    attend_and_choose,
    block_count,
    block_importance,
    compress_window,
    compressed_sequences,
    input_and_weight,
    packed_ends,
    raw_sequences,
    visible_selections,
    window_count,
    window_starts,
)
from ms_nsa.reference import attend, attend_grad, float64, with_lanes


def nsa_compress(input, weight, compress_block_size, compress_stride, actual_seq_len=None):
    """Weighted sums of windows: input [T2, N2, D], weight [compress_block_size, N2] or None for the mean.

    actual_seq_len are inclusive prefix sums of raw rows, None means one sequence. Returns [T3, N2, D], the
    windows of all sequences one after another.

    >>> weight = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> nsa_compress(np.arange(6.0).reshape(6, 1, 1), weight, 4, 2).ravel().tolist()
    [20.0, 40.0]
    """
    input, weight = input_and_weight(input, weight, compress_block_size)
    ends = packed_ends("actual_seq_len", actual_seq_len, len(input))
    starts = window_starts(ends, compress_block_size, compress_stride)
    output = np.zeros((len(starts), *input.shape[1:]))
    for row, start in enumerate(starts):
        output[row] = compress_window(input[start : start + compress_block_size], weight)
    return output


def nsa_compress_grad(grad, input, weight, compress_block_size, compress_stride, actual_seq_len=None):
    """Gradients of input and of weight (None if weight is) for ``grad`` [>= T3, N2, D]; its further rows mean nothing.

    >>> weight = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> grad = np.array([1.0, 10.0]).reshape(2, 1, 1)
    >>> gradients = nsa_compress_grad(grad, np.arange(6.0).reshape(6, 1, 1), weight, 4, 2)
    >>> [gradient.ravel().tolist() for gradient in gradients]
    [[1.0, 2.0, 13.0, 24.0, 30.0, 40.0], [20.0, 31.0, 42.0, 53.0]]
    """
    mean, grad = weight is None, np.asarray(grad).astype(np.float64)
    input, weight = input_and_weight(input, weight, compress_block_size)
    ends = packed_ends("actual_seq_len", actual_seq_len, len(input))
    starts = window_starts(ends, compress_block_size, compress_stride)
    if len(grad) < len(starts):
        raise ValueError(f"grad must have at least {len(starts)} rows, got {len(grad)}")
    input_grad, weight_grad = np.zeros_like(input), np.zeros_like(weight)
    for row, start in enumerate(starts):
        window = slice(start, start + compress_block_size)
        input_grad[window] += weight[:, :, None] * grad[row]
        weight_grad += (input[window] * grad[row]).sum(axis=2)
    return input_grad, None if mean else weight_grad


def nsa_compress_attention(
    query, key, value, scale_value, head_num, compress_block_size, compress_stride, select_block_size,
    select_block_count, topk_mask=None, atten_mask=None, actual_seq_qlen=None, actual_cmp_seq_kvlen=None,
    actual_sel_seq_kvlen=None, actual_seq_kvlen=None, sparse_mode=0, init_blocks=0, local_blocks=0,
):  # fmt: skip
    """Attention over compressed rows, and the blocks that selected attention shall read.

    query [T1, N1, D1], key [>= T3, N2, D1], value [>= T3, N2, D2]; topk_mask [>= max Sq, >= max blocks] and
    atten_mask [>= max Sq, >= max windows] (non-zero = drop) are indexed inside the sequence. actual_seq_kvlen are
    inclusive prefix sums of raw rows, None means actual_seq_qlen. actual_cmp_seq_kvlen, if given, must be what
    compressed_seq_lens says; actual_sel_seq_kvlen is not read.

    Returns attention_out [T1, N1, D2], topk_indices int32 [T1, N2, select_block_count], and softmax_max and
    softmax_sum [T1, N1, 8] as in reference.select_attention.

    >>> zeros, value = np.zeros((10, 1, 1)), np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    >>> rule = {"sparse_mode": 3, "init_blocks": 1, "local_blocks": 1}
    >>> out, topk, _, total = nsa_compress_attention(zeros, zeros[:4], value, 1.0, 1, 4, 2, 4, 2, **rule)
    >>> out.ravel().tolist(), total[..., 0].ravel().tolist()
    ([0.0, 0.0, 0.0, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 2.5], [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    >>> topk[[0, 3, 4, 7, 8, 9], 0].tolist()
    [[0, -1], [0, -1], [0, 1], [0, 1], [0, 2], [0, 2]]
    """
    query, key, value = float64(query, key, value)
    windows = Windows(compress_block_size, compress_stride, sparse_mode)
    lengths = actual_seq_qlen, actual_seq_kvlen, actual_cmp_seq_kvlen
    sequences = compressed_sequences(query, key, head_num, windows, *lengths)
    choice = Choice(select_block_size, select_block_count, init_blocks, local_blocks, topk_mask)
    return attend_and_choose(query, key, value, scale_value, sequences, windows, choice, atten_mask)


def nsa_compress_importance(
    query, key, scale_value, head_num, compress_block_size, compress_stride, select_block_size,
    atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None, sparse_mode=0,
):  # fmt: skip
    """What nsa_compress_attention chooses by: [T1, N2, most blocks of a sequence], 0 beyond the token's own blocks.

    >>> zeros = np.zeros((10, 1, 1))
    >>> nsa_compress_importance(zeros, zeros[:4], 1.0, 1, 4, 2, 4, sparse_mode=3)[[2, 3, 5, 9], 0].tolist()
    [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [1.5, 0.5, 0.0], [0.75, 1.0, 0.25]]
    """
    query, key = float64(query, key)
    windows = Windows(compress_block_size, compress_stride, sparse_mode)
    sequences = compressed_sequences(query, key, head_num, windows, actual_seq_qlen, actual_seq_kvlen)
    most = block_count(max(sequences.kv_lens, default=0), select_block_size)
    importance = np.zeros((len(query), key.shape[1], most))
    for visit, row in block_importance(query, key, scale_value, sequences, windows, select_block_size, atten_mask):
        importance[visit.token, visit.head, : len(row)] = row
    return importance


def nsa_compress_attention_grad(
    grad, query, key, value, scale_value, head_num, compress_block_size, compress_stride, atten_mask=None,
    actual_seq_qlen=None, actual_cmp_seq_kvlen=None, actual_seq_kvlen=None, sparse_mode=0,
    softmax_max_grad=None, softmax_sum_grad=None,
):  # fmt: skip
    """dq, dk, dv for the gradients of attention_out and, if given, of the statistics [T1, N1, 8].

    The choice of blocks has no gradient. dk and dv are 0 in rows of key and value beyond T3.

    >>> q, k, v = np.ones((6, 1, 1)), np.zeros((2, 1, 1)), np.array([1.0, 3.0]).reshape(2, 1, 1)
    >>> gradients = nsa_compress_attention_grad(4 * q, q, k, v, 1.0, 1, 4, 2, sparse_mode=3)
    >>> [gradient.ravel().tolist() for gradient in gradients]  # tokens 3 and 4 see one window, token 5 both
    [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [-2.0, 2.0], [10.0, 2.0]]
    """
    query, key, value = float64(query, key, value)
    windows = Windows(compress_block_size, compress_stride, sparse_mode)
    lengths = actual_seq_qlen, actual_seq_kvlen, actual_cmp_seq_kvlen
    sequences = compressed_sequences(query, key, head_num, windows, *lengths)
    selections = visible_selections(sequences, key.shape[1], windows, atten_mask)
    grads = grad, softmax_max_grad, softmax_sum_grad
    return attend_grad(grads, query, key, value, scale_value, selections)


def nsa_window_attention(
    query, key, value, scale_value, head_num, window_size, actual_seq_qlen=None, actual_seq_kvlen=None
):
    """Attention to the last window_size raw rows, the token's own included, always right aligned.

    Arguments and results as those of reference.select_attention; actual_seq_kvlen=None means actual_seq_qlen if
    that is given, else one sequence.

    >>> zeros, value = np.zeros((4, 1, 1)), np.array([1.0, 3.0, 5.0, 9.0]).reshape(4, 1, 1)
    >>> out, _, total = nsa_window_attention(zeros, zeros, value, 1.0, 1, 2)
    >>> out.ravel().tolist(), total[..., 0].ravel().tolist()
    ([1.0, 2.0, 4.0, 7.0], [1.0, 2.0, 2.0, 2.0])
    """
    query, key, value = float64(query, key, value)
    sequences = raw_sequences(query, key, head_num, actual_seq_qlen, actual_seq_kvlen)
    selections = visible_selections(sequences, key.shape[1], Sliding(window_size))
    return with_lanes(*attend(query, key, value, scale_value, selections))


def nsa_window_attention_grad(
    grad, query, key, value, scale_value, head_num, window_size, actual_seq_qlen=None, actual_seq_kvlen=None,
    softmax_max_grad=None, softmax_sum_grad=None,
):  # fmt: skip
    """dq, dk, dv for the gradients of attention_out and, if given, of the statistics [T1, N1, 8]."""
    query, key, value = float64(query, key, value)
    sequences = raw_sequences(query, key, head_num, actual_seq_qlen, actual_seq_kvlen)
    selections = visible_selections(sequences, key.shape[1], Sliding(window_size))
    grads = grad, softmax_max_grad, softmax_sum_grad
    return attend_grad(grads, query, key, value, scale_value, selections)


def compressed_seq_lens(actual_seq_kvlen, compress_block_size, compress_stride, per_sequence=False):
    """Prefix sums of compressed rows for prefix sums of raw rows, or both per sequence.

    >>> compressed_seq_lens((6, 9, 13), 4, 2), compressed_seq_lens((6, 3, 4), 4, 2, per_sequence=True)
    ((2, 2, 3), (2, 0, 1))
    """
    lens = actual_seq_kvlen if per_sequence else np.diff(actual_seq_kvlen, prepend=0)
    counts = [window_count(int(n), compress_block_size, compress_stride) for n in lens]
    return tuple(int(n) for n in (counts if per_sequence else np.cumsum(counts, dtype=np.int64)))
