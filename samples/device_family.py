# SPDX-License-Identifier: Apache-2.0
"""The operators besides selected attention, for 04_check_device.py: comparisons with the reference, and timed calls."""

import mindspore as ms
import numpy as np

import ms_nsa
from ms_nsa import family_reference, paged_family_reference
from support import DTYPES
from support.compare import compare_tensor
from support.compare_topk import check_topk_indices
from support.family_terms import grad_terms, out_terms, window_terms
from support.run_cells import to_array, to_tensor

ENDS, N2, GROUP, D1, D2, PAGE = (37, 300, 301, 700), 2, 4, 64, 48, 64
WINDOWS = {"compress_block_size": 32, "compress_stride": 16}
BLOCKS = {"select_block_size": 64, "select_block_count": 6, "init_blocks": 1, "local_blocks": 2}
LENS, NEW = (700, 290), (3, 40)  # of two sequences over pages


def _normal(seed, dtype, *shape):
    return np.random.default_rng([21, seed]).standard_normal(shape, np.float32).astype(DTYPES[dtype])


def _packed(dtype, rows):
    heads = N2 * GROUP
    arrays = _normal(1, dtype, ENDS[-1], heads, D1), _normal(2, dtype, rows, N2, D1), _normal(3, dtype, rows, N2, D2)
    return dict(zip(("query", "key", "value"), arrays)), {"head_num": heads, "scale_value": None}


def _compare(found, expected, kinds, dtype, terms=None):
    """The comparison of each tensor by its name; `kinds` names them."""
    terms = terms or {}
    return {
        name: compare_tensor(to_array(tensor), np.asarray(right), kind, DTYPES[dtype], terms.get(name))
        for tensor, right, (name, kind) in zip(found, expected, kinds.items())
    }


def compression(dtype):
    """NsaCompress and NsaCompressGrad."""
    raw, weight = _normal(4, dtype, ENDS[-1], N2, D1), _normal(5, dtype, 32, N2)
    sizes = tuple(WINDOWS.values())
    expected = family_reference.nsa_compress(raw, weight, *sizes, ENDS)
    found = ms_nsa.NsaCompress(*sizes)(to_tensor(raw), to_tensor(weight), ENDS)
    yield "NsaCompress", _compare([found], [expected], {"output": "out"}, dtype)
    grad = _normal(6, dtype, *expected.shape)
    expected = family_reference.nsa_compress_grad(grad, raw, weight, *sizes, ENDS)
    found = ms_nsa.NsaCompressGrad(*sizes)(*map(to_tensor, (grad, raw, weight)), ENDS)
    yield "NsaCompressGrad", _compare(found, expected, {"input_grad": "grad", "weight_grad": "grad"}, dtype)


def _attention(dtype, kind, tensors, attributes, lengths, reference, terms):
    """A forward Cell and its gradient."""
    named = {"actual_seq_qlen": ENDS, "actual_seq_kvlen": ENDS}
    inputs = [to_tensor(tensors[name]) for name in ("query", "key", "value")]
    found = getattr(ms_nsa, kind)(**attributes)(*inputs, **lengths)
    forward, backward = reference
    expected = forward(**tensors, **attributes, **named)
    out, *_, top, total = found
    of_out = compare_tensor(to_array(out), expected[0], "out", DTYPES[dtype], terms(tensors, attributes, named))
    yield kind, {"attention_out": of_out}, found, expected
    grad = _normal(7, dtype, *out.shape)
    few = {name: attributes[name] for name in attributes if name not in BLOCKS}
    gradient = getattr(ms_nsa, f"{kind}Grad")(**few)
    found = gradient(to_tensor(grad), *inputs, out, top, total, **lengths)
    expected = backward(grad, **tensors, **few, **named)
    scale = terms(tensors, attributes, named, grad)
    yield f"{kind}Grad", _compare(found, expected, dict.fromkeys(("dq", "dk", "dv"), "grad"), dtype, scale), None, None


def attention(dtype):
    """NsaCompressAttention and NsaWindowAttention, with their gradients."""
    lengths = {"actual_seq_qlen": ENDS, "actual_seq_kvlen": ENDS}
    rows = family_reference.compressed_seq_lens(ENDS, *WINDOWS.values())[-1]
    tensors, common = _packed(dtype, rows)
    attributes = {**common, **WINDOWS, **BLOCKS, "sparse_mode": 3}

    def compressed_terms(tensors, attributes, named, grad=None):
        arguments = {**tensors, **attributes, **named, "topk_mask": None, "atten_mask": None}
        return out_terms(arguments) if grad is None else grad_terms(arguments, grad)

    reference = family_reference.nsa_compress_attention, family_reference.nsa_compress_attention_grad
    parts = _attention(dtype, "NsaCompressAttention", tensors, attributes, lengths, reference, compressed_terms)
    for name, comparisons, found, _ in parts:
        if found is not None:
            check_topk_indices(to_array(found[1]), {**tensors, **attributes, **lengths}, DTYPES[dtype])
        yield name, comparisons

    def terms_of_window(tensors, attributes, named, grad=None):
        scales = window_terms({**tensors, **attributes, **named}, grad)
        return scales["attention_out"] if grad is None else scales

    tensors, common = _packed(dtype, ENDS[-1])
    reference = family_reference.nsa_window_attention, family_reference.nsa_window_attention_grad
    attributes = {**common, "window_size": 100}
    parts = _attention(dtype, "NsaWindowAttention", tensors, attributes, lengths, reference, terms_of_window)
    for name, comparisons, *_ in parts:
        yield name, comparisons


def decoding(dtype):
    """The operators over pages."""
    pages, table = 16, np.array([[5, 0, 9, 2, 11, 14, 7, 3, 1, 8, 4], [6, 10, 12, 13, 15, *[-1] * 6]], np.int32)
    raw, weight = _normal(8, dtype, pages, PAGE, N2, D1), _normal(5, dtype, 32, N2)
    slots = np.array([[9, -1, -1], [4, 7, 30]], np.int32)
    sizes = (*WINDOWS.values(), PAGE)
    expected, _ = paged_family_reference.nsa_compress_infer(raw, weight, slots, *sizes, table, LENS, None, NEW)
    found, _ = ms_nsa.NsaCompressInfer(*sizes)(*map(to_tensor, (raw, weight, slots, table)), LENS, NEW)
    yield "NsaCompressInfer", _compare([found], [expected], {"rows": "out"}, dtype)
    heads = N2 * GROUP
    query, value = _normal(9, dtype, sum(NEW), heads, D1), _normal(10, dtype, pages, PAGE, N2, D2)
    named = {"layout": "TND", "scale_value": None, "head_num": heads, "key_value_head_num": N2, "page_block_size": PAGE}
    tensors = {"query": query, "key": raw, "value": value}
    inputs = [to_tensor(array) for array in (*tensors.values(), table)]
    lengths = {"actual_seq_qlen": NEW, "actual_seq_kvlen": LENS}
    reference = paged_family_reference.nsa_window_attention_infer
    expected = reference(**tensors, **named, window_size=100, block_table=table, **lengths)
    of_sizes = {**tensors, "value": np.abs(value)}  # what the terms of an element add up to without their signs
    terms = {"attention_out": reference(**of_sizes, **named, window_size=100, block_table=table, **lengths)}
    found = ms_nsa.NsaWindowAttentionInfer(**named, window_size=100)(*inputs, **lengths)
    yield "NsaWindowAttentionInfer", _compare([found], [expected], {"attention_out": "out"}, dtype, terms)
    attributes, lens = {**named, **WINDOWS, **BLOCKS}, {"actual_seq_qlen": NEW, "actual_sel_seq_kvlen": LENS}
    reference = paged_family_reference.nsa_compress_attention_infer
    expected, blocks = reference(**tensors, **attributes, block_table=table, **lens)[:2]
    terms = {"attention_out": reference(**of_sizes, **attributes, block_table=table, **lens)[0]}
    found, chosen = ms_nsa.NsaCompressAttentionInfer(**attributes)(*inputs, **lengths)
    same = np.mean(chosen.asnumpy() == blocks)
    assert same > 0.99, f"topk_indices must be 99% those of the reference, got {same:.1%}"
    yield "NsaCompressAttentionInfer", _compare([found], [expected], {"attention_out": "out"}, dtype, terms)


def comparisons(dtype):
    """(operator, comparison by tensor) of all of them."""
    for part in (compression, attention, decoding):
        yield from part(dtype)


def timed_calls(tokens, dtype):
    """Calls by name: 4 groups of 4 heads, D 192/128, windows of 32 rows every 16, 16 blocks of 64, a window of 512."""

    def normal(*shape):
        return ms.Tensor(_normal(11, dtype, *shape))

    raw, value, query = normal(tokens, 4, 192), normal(tokens, 4, 128), normal(tokens, 16, 192)
    compress, choice, window = (
        ms_nsa.NsaCompress(), ms_nsa.NsaCompressAttention(16), ms_nsa.NsaWindowAttention(16, 512)
    )  # fmt: skip
    keys, values = compress(raw), compress(value)
    return {
        "compression": lambda: compress(raw),
        "compressed attention": lambda: choice(query, keys, values, None, None, (tokens,), (tokens,)),
        "window": lambda: window(query, raw, value),
    }
