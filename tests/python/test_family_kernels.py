# SPDX-License-Identifier: Apache-2.0
"""The kernels of compression, compressed attention and the sliding window on every instruction set, without
MindSpore: results against the oracle, the same bits with any number of threads, and nothing read that is not in use."""

# ruff: noqa: F811 - fixtures are imported
import numpy as np
import pytest
from test_kernels_isa import isa, runner  # noqa: F401

from ms_nsa import family_reference, family_rules, paged_family_reference
from support import compare_tensor, family_calls
from support.compare_topk import check_topk_indices
from support.family_cases import random_compressed_arguments, random_window_arguments
from support.family_terms import grad_terms, out_terms, window_terms
from support.kernel_runner import native_runner

THREADS = 1, 2, 3


def rounded(arguments, dtype):
    """The arguments with their tensors in ``dtype``."""
    names = "query", "key", "value", "input", "weight"
    return {k: v.astype(dtype) if k in names and v is not None else v for k, v in arguments.items()}


def wide(arguments):
    """The arguments with heads and rows of more than a vector."""
    rng = np.random.default_rng(len(arguments["query"]))
    sizes = {"query": 70, "key": 70, "value": 37}
    return {
        name: rng.standard_normal((*value.shape[:2], sizes[name])) if name in sizes else value
        for name, value in arguments.items()
    }


def run(runner, isa, folder, call):
    """Outputs with one thread; those with more must have the same bits."""
    (runs,) = runner.run(folder, isa, [call], THREADS)
    for outputs in runs[1:]:
        for output, first in zip(outputs, runs[0]):
            assert output.tobytes() == first.tobytes()
    return runs[0]


def close(actual, expected, kind, dtype, terms=None):
    found = compare_tensor(actual, expected, kind, dtype, terms)
    assert not found.failure, found.failure


def check_statistics(found, expected, dtype):
    score = np.maximum(1, np.abs(np.where(np.isfinite(expected[0]), expected[0], 0)))
    close(found[0], expected[0], "softmax_max", dtype, score)
    close(found[1], expected[1], "softmax_sum", dtype, score * expected[1])


def compressed_arguments(seed, dtype, **changes):
    arguments = {**random_compressed_arguments(np.random.default_rng([13, seed])), **changes}
    spare = np.isnan(arguments["key"]).all(axis=(1, 2))
    arguments = wide(arguments) if seed % 2 else arguments
    arguments["key"][spare] = arguments["value"][spare] = np.nan
    return rounded(arguments, dtype)


@pytest.mark.parametrize("seed", range(6))
def test_compressed_attention(runner, isa, dtype, tmp_path, seed):
    arguments = compressed_arguments(seed, dtype)
    out, topk, *statistics = run(runner, isa, tmp_path, family_calls.compress_attention_call(arguments))
    expected = family_reference.nsa_compress_attention(**arguments)
    close(out, expected[0], "out", dtype, out_terms(arguments))
    check_statistics(statistics, expected[2:], dtype)
    check_topk_indices(topk, arguments, dtype)
    without = run(runner, isa, tmp_path, family_calls.compress_attention_call(arguments, need_output=False))
    for output, same in zip(without, (topk, *statistics)):
        assert output.tobytes() == same.tobytes()


def test_nan_reaches_what_sees_it(runner, isa, dtype, tmp_path):
    """A NaN query loses its own weights of the windows that it sees; a NaN key those of the queries that see it."""
    rng = np.random.default_rng(9)
    shapes = {"query": (60, 4, 20), "key": (14, 2, 20), "value": (14, 2, 20)}
    arguments = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    arguments["query"][40, 1] = np.nan
    arguments["key"][9, 1] = np.nan
    arguments.update(
        scale_value=None, head_num=4, compress_block_size=8, compress_stride=4, select_block_size=8,
        select_block_count=4, init_blocks=1, local_blocks=1, sparse_mode=3, topk_mask=None,
        atten_mask=(rng.random((60, 14)) < 0.6).astype(np.uint8), actual_seq_qlen=(60,), actual_seq_kvlen=(60,),
    )  # fmt: skip
    out, topk, *_ = run(runner, isa, tmp_path, family_calls.compress_attention_call(arguments))
    expected = family_reference.nsa_compress_attention(**arguments)
    close(out, expected[0], "out", dtype, out_terms(arguments))
    check_topk_indices(topk, arguments, dtype)


# (window, stride, block): 1 to 16 windows from one block to the next, and blocks that strides do not fill
OVERLAPS = [(5, 3, 3), (9, 2, 4), (4, 2, 6), (7, 1, 4), (3, 1, 5), (32, 1, 8), (2, 1, 16), (6, 4, 6), (7, 3, 8)]


@pytest.mark.parametrize("sizes", OVERLAPS)
def test_blocks_by_their_windows(runner, isa, dtype, tmp_path, sizes):
    rng, (size, stride, block), raw = np.random.default_rng(sizes), sizes, 331
    rows = {"query": (23, 4), "key": ((raw - size) // stride + 1, 2), "value": ((raw - size) // stride + 1, 2)}
    arguments = {name: rng.standard_normal((*shape, 24)) for name, shape in rows.items()}
    arguments.update(
        scale_value=None, head_num=4, compress_block_size=size, compress_stride=stride, select_block_size=block,
        select_block_count=7, init_blocks=1, local_blocks=2, sparse_mode=3, topk_mask=None, atten_mask=None,
        actual_seq_qlen=(23,), actual_seq_kvlen=(raw,),
    )  # fmt: skip
    arguments = rounded(arguments, dtype)
    _, topk, *_ = run(runner, isa, tmp_path, family_calls.compress_attention_call(arguments))
    check_topk_indices(topk, arguments, dtype)


@pytest.mark.parametrize("seed", range(3))
def test_compressed_attention_gradient(runner, isa, dtype, tmp_path, seed):
    arguments = compressed_arguments(seed, dtype)
    rng = np.random.default_rng(seed)
    out, _, top, total = family_reference.nsa_compress_attention(**arguments)
    grad = rng.standard_normal(out.shape).astype(dtype)
    of_statistics = [rng.standard_normal(top.shape).astype(np.float32) if seed else None for _ in range(2)]
    saved = out.astype(dtype), top.astype(np.float32), total.astype(np.float32)
    call = family_calls.compress_attention_grad_call(arguments, (grad, *of_statistics), saved)
    found = run(runner, isa, tmp_path, call)
    expected = gradient_of(arguments, grad, of_statistics)
    terms = grad_terms(arguments, grad, of_statistics)
    for name, gradient, right in zip(("dq", "dk", "dv"), found, expected):
        close(gradient, right, "grad", dtype, terms[name])


def gradient_of(arguments, grad, of_statistics=(None, None)):
    """The oracle's gradient of compressed attention."""
    choice = "select_block_size", "select_block_count", "init_blocks", "local_blocks", "topk_mask"
    rest = {name: value for name, value in arguments.items() if name not in choice}
    return family_reference.nsa_compress_attention_grad(
        grad, **rest, softmax_max_grad=of_statistics[0], softmax_sum_grad=of_statistics[1]
    )


@pytest.mark.slow
def test_many_random_cases(dtype, tmp_path):
    """On the two fastest instruction sets of this machine, all calls of a kind in one run."""
    runner, cases = native_runner(), [compressed_arguments(1000 + seed, dtype) for seed in range(500)]

    def run(calls):
        return zip(*(runner.run(tmp_path, isa, calls) for isa in runner.isas()[-2:]))

    calls = [family_calls.compress_attention_call(arguments) for arguments in cases]
    saved, grads = [], []
    for arguments, results in zip(cases, run(calls)):
        expected = family_reference.nsa_compress_attention(**arguments)
        for (found,) in results:
            close(found[0], expected[0], "out", dtype, out_terms(arguments))
            check_statistics(found[2:], expected[2:], dtype)
            check_topk_indices(found[1], arguments, dtype)
        saved.append((expected[0].astype(dtype), *(array.astype(np.float32) for array in expected[2:])))
        grads.append((np.random.default_rng(len(grads)).standard_normal(expected[0].shape).astype(dtype), None, None))
    calls = [family_calls.compress_attention_grad_call(*each) for each in zip(cases, grads, saved)]
    for arguments, grad, results in zip(cases, grads, run(calls)):
        terms, right = grad_terms(arguments, grad[0]), gradient_of(arguments, grad[0])
        for (found,) in results:
            for name, gradient, expected in zip(("dq", "dk", "dv"), found, right):
                close(gradient, expected, "grad", dtype, terms[name])
    windows = [rounded(random_window_arguments(np.random.default_rng([19, seed])), dtype) for seed in range(500)]
    calls = [family_calls.window_call(arguments) for arguments in windows]
    for arguments, results in zip(windows, run(calls)):
        expected = family_reference.nsa_window_attention(**arguments)
        for (found,) in results:
            close(found[0], expected[0], "out", dtype, window_terms(arguments)["attention_out"])
            check_statistics(found[1:], expected[1:], dtype)


@pytest.mark.parametrize("seed", range(4))
def test_window(runner, isa, dtype, tmp_path, seed):
    arguments = random_window_arguments(np.random.default_rng([17, seed]))
    if seed == 3:  # more than a tile of keys
        rng = np.random.default_rng(3)
        arguments.update(
            query=rng.standard_normal((90, 6, 21)), key=rng.standard_normal((250, 3, 21)),
            value=rng.standard_normal((250, 3, 35)), head_num=6, window_size=70,
            actual_seq_qlen=(40, 90), actual_seq_kvlen=(80, 250),
        )  # fmt: skip
    arguments = rounded(arguments, dtype)
    found = run(runner, isa, tmp_path, family_calls.window_call(arguments))
    expected = family_reference.nsa_window_attention(**arguments)
    terms = window_terms(arguments)
    close(found[0], expected[0], "out", dtype, terms["attention_out"])
    check_statistics(found[1:], expected[1:], dtype)
    rng = np.random.default_rng(seed)
    grads = [rng.standard_normal(expected[0].shape).astype(dtype), *rng.standard_normal((2, *expected[1].shape))]
    grads[1:] = (grad.astype(np.float32) for grad in grads[1:])
    saved = expected[0].astype(dtype), *(array.astype(np.float32) for array in expected[1:])
    found = run(runner, isa, tmp_path, family_calls.window_grad_call(arguments, grads, saved))
    expected = family_reference.nsa_window_attention_grad(
        grads[0], **arguments, softmax_max_grad=grads[1], softmax_sum_grad=grads[2]
    )
    terms = window_terms(arguments, grads[0], grads[1:])
    for name, gradient, right in zip(("dq", "dk", "dv"), found, expected):
        close(gradient, right, "grad", dtype, terms[name])


@pytest.mark.parametrize("size, stride, weighted, d", [(32, 16, True, 40), (7, 3, True, 6), (5, 5, False, 33)])
def test_compression(runner, isa, dtype, tmp_path, size, stride, weighted, d):
    rng = np.random.default_rng(size)
    ends = np.cumsum([0, size - 1, 3 * size, 0, 40 * stride + size, size]).tolist()
    input = rng.standard_normal((ends[-1], 3, d)).astype(dtype)
    weight = rng.standard_normal((size, 3)).astype(dtype) if weighted else None
    (rows,) = run(runner, isa, tmp_path, family_calls.compress_call(input, weight, size, stride, ends, spare_rows=2))
    expected = family_reference.nsa_compress(input, weight, size, stride, ends)
    terms = np.sqrt(family_reference.nsa_compress(input.astype(float) ** 2, _squares(weight, size), size, stride, ends))
    close(rows[:-2], expected, "out", dtype, terms)
    assert not rows[-2:].view(np.uint8).any()
    grad = rng.standard_normal(expected.shape).astype(dtype)
    found = run(runner, isa, tmp_path, family_calls.compress_grad_call(grad, input, weight, size, stride, ends))
    gradients = family_reference.nsa_compress_grad(grad, input, weight, size, stride, ends)
    squares = (None if array is None else array.astype(float) ** 2 for array in (grad, input))
    terms = family_reference.nsa_compress_grad(*squares, _squares(weight, size), size, stride, ends)
    for gradient, right, squared in zip(found, gradients, terms):
        close(gradient, right, "grad", dtype, np.sqrt(squared))


def _squares(weight, size):
    return np.full((size, 3), size**-2.0) if weight is None else weight.astype(float) ** 2


@pytest.mark.parametrize("tokens", [2, 3, 40])
def test_a_zero_is_positive(runner, isa, tmp_path, tokens):
    """Sums that underflow from below. Zeros of what only later tokens see, or later tokens' zeros, turn -0 to +0."""
    query = np.ones((tokens, 1, 1), np.float32)
    key, value, grad = np.zeros((3, tokens, 1, 1), np.float32)
    key[1], value[1], value[2:], grad[1], grad[2:] = -2, -1e-45, 1, -1e-45, 1
    arguments = {"query": query, "key": key, "value": value, "scale_value": 1.0, "head_num": 1}
    arguments |= {"actual_seq_qlen": [tokens], "actual_seq_kvlen": [tokens]}
    choice = dict.fromkeys(("compress_block_size", "compress_stride", "select_block_size", "select_block_count"), 1)
    choice |= {"init_blocks": 0, "local_blocks": 0, "sparse_mode": 3, "topk_mask": None, "atten_mask": None}
    out = run(runner, isa, tmp_path, family_calls.compress_attention_call({**arguments, **choice}))[0]
    assert not out[:2].view(np.uint32).any()
    arguments = {**arguments, "key": -key, "window_size": 2}
    saved = run(runner, isa, tmp_path, family_calls.window_call(arguments))
    dv = run(runner, isa, tmp_path, family_calls.window_grad_call(arguments, (grad, None, None), saved))[2]
    assert not dv[0].view(np.uint32).any()


@pytest.mark.parametrize("cache_layout", ["BSND", "BNSD"])
def test_compression_in_decode_has_the_bits_of_training(runner, isa, dtype, tmp_path, cache_layout):
    rng = np.random.default_rng(5)
    size, stride, page, n2, d, rows = 6, 4, 8, 3, 19, 37
    input, weight = rng.standard_normal((rows, n2, d)).astype(dtype), rng.standard_normal((size, n2)).astype(dtype)
    (expected,) = run(runner, isa, tmp_path, family_calls.compress_call(input, weight, size, stride, [rows]))
    table = np.array([[4, 1, 6, 0, 3]], np.int32)
    pages = np.full((8, page, n2, d), np.nan, dtype)
    for row in range(rows):
        pages[table[0, row // page], row % page] = input[row]
    pages = pages.swapaxes(1, 2) if cache_layout == "BNSD" else pages
    found, length = np.full_like(expected, np.nan), 0
    for step in (1, 5, 2, 9, 3, 1, 12, 4):
        length += step
        before, after = (family_rules.window_count(n, size, stride) for n in (length - step, length))
        slots = np.full((1, 4), -7, np.int32)
        slots[0, : after - before] = np.arange(before, after)
        call = family_calls.compress_infer_call(
            np.ascontiguousarray(pages), weight, slots, size, stride, page, table, [length], [step], n2, cache_layout
        )
        new, written = run(runner, isa, tmp_path, call)
        assert written[0].tolist() == [*range(before, after), *[-1] * (4 - after + before)]
        right = paged_family_reference.nsa_compress_infer(
            pages, weight, np.maximum(slots, 0), size, stride, page, table, [length], None, [step], cache_layout
        )[0]
        close(new, right, "out", dtype, 5 * np.ones_like(right))
        found[written[0][written[0] >= 0]] = new[0, : after - before]
    assert length == rows and found.tobytes() == expected.tobytes()


def paged_arguments(rng, dtype, cache_layout, n2, group):
    """query, key, value and lengths of a paged call; the rows that are not in use are NaN."""
    d1, d2, page, q_lens, kv_lens = 21, 35, 8, [1, 3, 0, 2], [70, 3, 40, 2]
    table = rng.permutation(60)[:52].reshape(4, 13).astype(np.int32)
    caches = [rng.standard_normal((60, page, n2, d)) for d in (d1, d2)]
    return {
        "query": rng.standard_normal((sum(q_lens), n2 * group, d1)).astype(dtype),
        **{name: cache.astype(dtype) for name, cache in zip(("key", "value"), caches)},
        "scale_value": 0.7, "head_num": n2 * group, "key_value_head_num": n2, "page_block_size": page,
        "block_table": table, "actual_seq_qlen": q_lens, "cache_layout": cache_layout, "kv_lens": kv_lens,
    }  # fmt: skip


def poison(arguments, rows):
    """NaN in all cache rows but the first ``rows`` of each sequence, and the layout that was asked for."""
    table, page = arguments["block_table"], arguments["page_block_size"]
    used = np.zeros(arguments["key"].shape[:2], bool)
    for b, count in enumerate(rows):
        for row in range(count):
            used[table[b, row // page], row % page] = True
    for name in ("key", "value"):
        arguments[name][~used] = np.nan
        if arguments["cache_layout"] == "BNSD":
            arguments[name] = np.ascontiguousarray(arguments[name].swapaxes(1, 2))
    return arguments


@pytest.mark.parametrize("cache_layout", ["BSND", "BNSD"])
@pytest.mark.parametrize("n2, group", [(2, 1), (3, 2), (2, 3), (1, 7), (1, 19)])
def test_window_in_decode(runner, isa, dtype, tmp_path, cache_layout, n2, group):
    arguments = paged_arguments(np.random.default_rng(n2 + group), dtype, cache_layout, n2, group)
    kv_lens = arguments.pop("kv_lens")
    arguments = {**poison(arguments, kv_lens), "window_size": 9, "actual_seq_kvlen": kv_lens}
    out, *statistics = run(runner, isa, tmp_path, family_calls.window_infer_call(**arguments))
    expected = paged_family_reference.nsa_window_attention_infer(**arguments, layout="TND", return_softmax_lse=True)
    close(out, expected[0], "out", dtype, np.ones_like(expected[0]))
    check_statistics(statistics, expected[1:], dtype)


@pytest.mark.parametrize("cache_layout", ["BSND", "BNSD"])
@pytest.mark.parametrize("n2, group", [(2, 1), (3, 2), (2, 3), (1, 7), (1, 19)])
def test_compressed_attention_in_decode(runner, isa, dtype, tmp_path, cache_layout, n2, group):
    arguments = paged_arguments(np.random.default_rng(n2 + group), dtype, cache_layout, n2, group)
    del arguments["kv_lens"]
    size, stride = (6, 4) if group < 7 else (5, 3)
    lens = [300, 9, 44, 3]
    windows = [family_rules.window_count(n, size, stride) for n in lens]
    rule = {
        "compress_block_size": size, "compress_stride": stride, "select_block_size": 8, "select_block_count": 5,
        "init_blocks": 1, "local_blocks": 2, "actual_sel_seq_kvlen": lens,
    }  # fmt: skip
    arguments = {**poison(arguments, windows), **rule}
    out, topk, *statistics = run(runner, isa, tmp_path, family_calls.compress_attention_infer_call(**arguments))
    expected = paged_family_reference.nsa_compress_attention_infer(**arguments, layout="TND", return_softmax_lse=True)
    close(out, expected[0], "out", dtype, np.ones_like(expected[0]))
    check_statistics(statistics, expected[2:], dtype)
    check_paged_indices(topk, arguments, dtype)


def check_paged_indices(topk, arguments, dtype):
    """As packed sequences: each with its own rows of the cache, its earlier tokens being nobody's."""
    table, page, n2 = (arguments[name] for name in ("block_table", "page_block_size", "key_value_head_num"))
    key = arguments["key"].swapaxes(1, 2) if arguments["cache_layout"] == "BNSD" else arguments["key"]
    names = "compress_block_size", "compress_stride"
    packed = {name: arguments[name] for name in (*names, "select_block_size", "select_block_count", "init_blocks")}
    packed.update({name: arguments[name] for name in ("local_blocks", "query", "scale_value", "head_num")})
    lens = arguments["actual_sel_seq_kvlen"]
    rows = [key[table[b, r // page], r % page] for b, n in enumerate(lens)
            for r in range(family_rules.window_count(n, *(arguments[name] for name in names)))]  # fmt: skip
    packed["key"] = np.stack(rows).reshape(-1, n2, key.shape[-1])
    packed.update(value=packed["key"], sparse_mode=3, atten_mask=None, topk_mask=None)
    packed["actual_seq_qlen"] = np.cumsum(arguments["actual_seq_qlen"])
    check_topk_indices(topk, {**packed, "actual_seq_kvlen": np.cumsum(lens)}, dtype)
