# SPDX-License-Identifier: Apache-2.0
"""Calls of the family's kernels for tests/cpp/kernel_runner.cpp, from the keyword arguments of the reference's
functions with arrays in the storage type."""

import numpy as np

from ms_nsa import family_reference, family_rules

from . import case_file
from .case_file import Call

_TILE = 64  # keys that a kernel takes together
_WINDOW, _COMPRESSED = 1, 2  # KeyRule


def window_call(arguments):
    query, value = arguments["query"], arguments["value"]
    inputs, sizes, scale = _window(**arguments)
    return Call(case_file.SELECT, sizes, scale, inputs, (_out(query, value), *_statistics(query)))


def window_grad_call(arguments, grads, saved):
    """``grads`` of attention_out and the statistics (or None), ``saved`` what the forward gave."""
    inputs, sizes, scale = _window(**arguments)
    return _grad_call(arguments, inputs, sizes, scale, grads, saved)


def compress_attention_call(arguments, need_output=True):
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    inputs, sizes, scale = _compressed(**_of_attention(arguments))
    mask = arguments.get("topk_mask")
    choice = [arguments[name] for name in ("select_block_size", "select_block_count", "init_blocks", "local_blocks")]
    sizes = (*sizes, *choice, 0 if mask is None else mask.shape[1])
    topk = (len(query), key.shape[1], arguments["select_block_count"]), np.int32
    outputs = (_out(query, value),) * need_output + (topk, *_statistics(query))
    return Call(case_file.COMPRESS_ATTENTION, sizes, scale, (*inputs, _bytes(mask)), outputs)


def compress_attention_grad_call(arguments, grads, saved):
    inputs, sizes, scale = _compressed(**_of_attention(arguments))
    return _grad_call(arguments, inputs[:7], sizes, scale, grads, saved, raw_ends=inputs[7])


def compress_call(input, weight, compress_block_size, compress_stride, actual_seq_len, spare_rows=0):
    ends = np.asarray(actual_seq_len, np.int64)
    rows = _windows(ends, compress_block_size, compress_stride)[-1] + spare_rows
    sizes = (*_compress_sizes(input, ends, compress_block_size, compress_stride), rows)
    return Call(case_file.COMPRESS, sizes, 0.0, (input, weight, ends), (((rows, *input.shape[1:]), input.dtype),))


def compress_grad_call(grad, input, weight, compress_block_size, compress_stride, actual_seq_len):
    ends = np.asarray(actual_seq_len, np.int64)
    outputs = tuple((array.shape, input.dtype) for array in (input, weight) if array is not None)
    sizes = _compress_sizes(input, ends, compress_block_size, compress_stride)
    return Call(case_file.COMPRESS_GRAD, sizes, 0.0, (input, weight, ends, grad), outputs)


def compress_infer_call(
    input, weight, slot_mapping, compress_block_size, compress_stride, page_block_size, block_table, actual_seq_len,
    actual_seq_qlen, n2, cache_layout="BSND",
):  # fmt: skip
    batch, slots = slot_mapping.shape
    d = input[0].size // page_block_size // n2
    sizes = (
        batch, slots, n2, d, len(input), page_block_size, block_table.shape[1], compress_block_size, compress_stride,
        _dtype(input), int(cache_layout == "BNSD"),
    )  # fmt: skip
    lens = (np.asarray(lengths, np.int64) for lengths in (actual_seq_len, actual_seq_qlen))
    outputs = ((batch, slots, n2, d), input.dtype), ((batch, slots), np.int32)
    return Call(case_file.PAGED_COMPRESS, sizes, 0.0, (input, weight, slot_mapping, block_table, *lens), outputs)


def gated_sum_call(branches, gates):
    rows, width = gates.size // 3, branches[0].shape[-1]
    output = branches[0].shape, branches[0].dtype
    return Call(case_file.GATED_SUM, (rows, width, _dtype(branches[0])), 0.0, (*branches, gates), (output,))


def gated_sum_grad_call(branches, gates, grad):
    call = gated_sum_call(branches, gates)
    outputs = (*call.outputs * 3, (gates.shape, np.float32))
    return Call(case_file.GATED_SUM_GRAD, call.sizes, 0.0, (*call.inputs, grad), outputs)


def sum_call(terms):
    rows, width = terms[0].shape[0], int(np.prod(terms[0].shape[1:]))
    sizes = rows, width, _dtype(terms[0]), len(terms)
    return Call(case_file.SUM, sizes, 0.0, tuple(terms), ((terms[0].shape, terms[0].dtype),))


def product_call(a, b, of="RowsAndRows"):
    """Of what the operands are: `of` names the ProductOf of params.h."""
    kinds = "RowsAndRows", "RowsAndColumns", "ColumnsAndColumns"
    rows, depth = a.shape[::-1] if of == kinds[2] else a.shape
    columns = len(b) if of == kinds[0] else b.shape[1]
    sizes = rows, columns, depth, _dtype(a), kinds.index(of)
    return Call(case_file.PRODUCT, sizes, 0.0, (a, b), (((rows, columns), a.dtype),))


def cast_call(input, dtype):
    sizes = *input.shape, case_file.DTYPES.index(np.dtype(dtype).name)
    return Call(case_file.CAST, sizes, 0.0, (input,), ((input.shape, np.dtype(dtype)),))


def rotate_call(input, cosine, sine):
    sizes = *input.shape, _dtype(input)
    return Call(case_file.ROTATE, sizes, 0.0, (input, cosine, sine), ((input.shape, input.dtype),))


def compress_attention_infer_call(
    query, key, value, scale_value, head_num, key_value_head_num, select_block_size, select_block_count,
    page_block_size, compress_block_size, compress_stride, block_table, actual_seq_qlen, actual_sel_seq_kvlen,
    init_blocks, local_blocks, cache_layout,
):  # fmt: skip
    """query [T, N1, D1], all of whose tokens are some sequence's."""
    blocks = _blocks(
        max(family_rules.window_count(n, compress_block_size, compress_stride) for n in actual_sel_seq_kvlen)
    )
    rule = _COMPRESSED, 0, compress_block_size, compress_stride
    choice = select_block_size, select_block_count, init_blocks, local_blocks
    lengths = actual_seq_qlen, actual_sel_seq_kvlen
    call = _paged(
        query, key, value, scale_value, key_value_head_num, page_block_size, block_table, lengths, cache_layout
    )
    topk = (len(query), key_value_head_num, select_block_count), np.int32
    return _with_rule(call, blocks, (*rule, int(cache_layout == "BNSD"), *choice), topk)


def window_infer_call(
    query, key, value, scale_value, head_num, key_value_head_num, window_size, page_block_size, block_table,
    actual_seq_qlen, actual_seq_kvlen, cache_layout,
):  # fmt: skip
    lengths = actual_seq_qlen, actual_seq_kvlen
    call = _paged(
        query, key, value, scale_value, key_value_head_num, page_block_size, block_table, lengths, cache_layout
    )
    rule = _WINDOW, window_size, 0, 0, int(cache_layout == "BNSD"), 0, 0, 0, 0
    return _with_rule(call, _blocks(window_size + _TILE), rule)


def _paged(query, key, value, scale_value, n2, page, block_table, lengths, cache_layout):
    d1, d2 = (array[0].size // page // n2 for array in (key, value))
    q_lens, kv_lens = (np.asarray(length, np.int64) for length in lengths)
    starts = np.cumsum([0, *q_lens[:-1]])
    sizes = len(q_lens), len(query), query.shape[1], n2, d1, d2, len(key), page, block_table.shape[1]
    inputs = query, key, value, None, None, block_table, starts, q_lens, kv_lens
    return sizes, _scale(scale_value, query), inputs, _dtype(query)


def _with_rule(call, blocks, rule, *chosen):
    sizes, scale, inputs, dtype = call
    query, d2 = inputs[0], sizes[5]
    outputs = (((*query.shape[:2], d2), query.dtype), *chosen, *_statistics(query))
    return Call(case_file.PAGED, (*sizes, _TILE, blocks, 0, dtype, 3, 0, *rule), scale, inputs, outputs)


def _grad_call(arguments, inputs, sizes, scale, grads, saved, raw_ends=None):
    tensors = tuple((arguments[name].shape, arguments[name].dtype) for name in ("query", "key", "value"))
    return Call(case_file.SELECT_GRAD, sizes, scale, (*inputs, grads[0], *saved, *grads[1:], raw_ends), tensors)


def _window(query, key, value, scale_value, head_num, window_size, actual_seq_qlen, actual_seq_kvlen):
    q_ends, kv_ends = (np.asarray(ends, np.int64) for ends in (actual_seq_qlen, actual_seq_kvlen))
    sizes = _sizes(query, key, value, q_ends, _blocks(min(window_size + _TILE, _longest(kv_ends) + _TILE)), None, 3)
    inputs = query, key, value, None, None, q_ends, kv_ends
    return inputs, (*sizes, _WINDOW, window_size, 0, 0), _scale(scale_value, query)


def _of_attention(arguments):
    names = ("select_block_size", "select_block_count", "init_blocks", "local_blocks", "topk_mask")
    return {name: value for name, value in arguments.items() if name not in names}


def _compressed(
    query, key, value, scale_value, head_num, compress_block_size, compress_stride, atten_mask, actual_seq_qlen,
    actual_seq_kvlen, sparse_mode,
):  # fmt: skip
    q_ends, raw_ends = (np.asarray(ends, np.int64) for ends in (actual_seq_qlen, actual_seq_kvlen))
    kv_ends = _windows(raw_ends, compress_block_size, compress_stride)
    sizes = _sizes(query, key, value, q_ends, _blocks(_longest(kv_ends)), atten_mask, sparse_mode)
    inputs = query, key, value, None, _bytes(atten_mask), q_ends, kv_ends, raw_ends
    return inputs, (*sizes, _COMPRESSED, 0, compress_block_size, compress_stride), _scale(scale_value, query)


def _sizes(query, key, value, q_ends, blocks, atten_mask, sparse_mode):
    (t1, n1, d1), (t2, n2, _), d2 = query.shape, key.shape, value.shape[2]
    cols = 0 if atten_mask is None else atten_mask.shape[1]
    return len(q_ends), t1, t2, n1, n2, d1, d2, _TILE, blocks, cols, _dtype(query), sparse_mode


def _compress_sizes(input, ends, compress_block_size, compress_stride):
    return len(ends), *input.shape, compress_block_size, compress_stride, _dtype(input)


def _windows(ends, compress_block_size, compress_stride):
    return np.asarray(family_reference.compressed_seq_lens(ends, compress_block_size, compress_stride), np.int64)


def _scale(scale_value, query):
    return family_rules.scale_of(scale_value, query.shape[2])


def _longest(ends):
    return int(np.diff(ends, prepend=0).max(initial=0))


def _blocks(keys):
    return max(1, -(-keys // _TILE))


def _bytes(mask):
    return None if mask is None else np.ascontiguousarray(mask, np.uint8)


def _dtype(array):
    return case_file.DTYPES.index(array.dtype.name)


def _out(query, value):
    return (*query.shape[:2], value.shape[2]), query.dtype


def _statistics(query):
    return (((*query.shape[:2], case_file.STAT_LANES), np.float32),) * 2
