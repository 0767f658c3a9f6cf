# SPDX-License-Identifier: Apache-2.0
"""A sequence's results are bitwise the same alone and in any batch, for any number of threads, on every ISA."""

from dataclasses import replace

import numpy as np
import pytest
from test_kernels_isa import DTYPES, isa, runner  # noqa: F401

from support import family_calls, make_paged_case, make_select_case
from support.case_file import paged_call, select_call, select_grad_call
from support.kernel_runner import native_runner
from support.run_cells import same_bits

SIZES = {"d1": 40, "d2": 24, "select_block_size": 48}
KV_LENS = (700, 50, 400, 900, 333)  # one to several parts of decode, one to several chunks of the training kernels
Q_LENS = (150, 8, 33, 90, 61)
THREADS = (1, 3)


def alone(case, b):
    """The training case of one sequence of a batch."""
    q, kv = (np.concatenate([[0], ends]) for ends in (case.q_ends, case.kv_ends))
    tokens, rows = slice(q[b], q[b + 1]), slice(kv[b], kv[b + 1])
    return replace(
        case,
        query=case.query[tokens],
        key=case.key[rows],
        value=case.value[rows],
        grad=case.grad[tokens],
        topk_indices=case.topk_indices[tokens],
        actual_seq_qlen=None,
        actual_seq_kvlen=None,
    )


def with_saved(case, saved):
    """The case whose gradient is given these results of the forward."""
    case.__dict__["saved"] = saved
    return case


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n2", "group"), [(1, 3), (2, 1)])
def test_training_does_not_depend_on_packing(runner, isa, tmp_path, dtype, n2, group):  # noqa: F811
    rng = np.random.default_rng([n2, group])
    case = make_select_case(
        rng, dtype, Q_LENS, KV_LENS, n2=n2, group=group, select_block_count=7, sparse_mode=3, **SIZES
    )
    parts = [with_saved(alone(case, b), tuple(array[tokens(case, b)] for array in case.saved)) for b in range(5)]
    calls = [make(c) for c in (case, *parts) for make in (select_call, select_grad_call)]
    (forward, gradient), *single = zip(*[iter(runner.run(tmp_path, isa, calls, THREADS))] * 2)
    for run, (out, grads) in enumerate(zip(forward, gradient)):
        for b, (one_forward, one_gradient) in enumerate(single):
            own = tokens(case, b), rows(case, b)
            expected = [array[own[0]] for array in out], [grads[0][own[0]], grads[1][own[1]], grads[2][own[1]]]
            assert same_bits(expected[0], one_forward[run]) and same_bits(expected[1], one_gradient[run]), b


def test_operands_beyond_one_share(tmp_path):
    """Operands that are packed once for a call are packed for some of its heads at a time; sequences and heads lie in
    different shares here."""
    sizes = {"n2": 4, "group": 6, "d1": 192, "d2": 128, "select_block_size": 64, "select_block_count": 16}
    rng, lengths = np.random.default_rng(8), ((410,) * 6, (2000, 1000, 5000, 100, 5000, 6000))
    case = make_select_case(rng, DTYPES[1], *lengths, sparse_mode=3, **sizes)
    calls = [select_call(c) for c in (case, *(alone(case, b) for b in range(6)))]
    whole, *parts = native_runner().run(tmp_path, native_runner().isas()[-1], calls)
    for b, (part,) in enumerate(parts):
        assert same_bits([array[tokens(case, b)] for array in whole[0]], part), b


def tokens(case, b):
    return slice(case.q_ends[b - 1] if b else 0, case.q_ends[b])


def rows(case, b):
    return slice(case.kv_ends[b - 1] if b else 0, case.kv_ends[b])


def paged_case(dtype, group, s):
    rng = np.random.default_rng([group, s])
    return make_paged_case(
        rng, dtype, "BSND", s, None, KV_LENS, n2=2, group=group, select_block_count=16, page_block_size=32, **SIZES
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", [1, 2, 3, 9])
def test_decode_does_not_depend_on_the_batch(runner, isa, tmp_path, dtype, group):  # noqa: F811
    case = paged_case(dtype, group, 2)
    batches = [slice(b, b + 1) for b in range(5)] + [slice(1, 4)]
    parts = [
        replace(
            case,
            query=case.query[batch],
            topk_indices=case.topk_indices[batch],
            block_table=case.block_table[batch],
            actual_seq_kvlen=KV_LENS[batch],
        )
        for batch in batches
    ]
    whole, *found = runner.run(tmp_path, isa, [paged_call(c) for c in (case, *parts)], THREADS)
    for batch, runs in zip(batches, found):
        for (out,) in runs:
            assert same_bits(
                [whole[0][0].reshape(case.query.shape[:2] + out.shape[1:])[batch].reshape(out.shape)], [out]
            )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", [1, 4, 9])
def test_decode_of_several_tokens_is_that_of_one_after_another(runner, isa, tmp_path, dtype, group):  # noqa: F811
    case = paged_case(dtype, group, 3)
    steps = [
        replace(
            case,
            query=case.query[:, s : s + 1],
            topk_indices=case.topk_indices[:, s : s + 1],
            actual_seq_kvlen=tuple(kv - (2 - s) for kv in KV_LENS),
        )
        for s in range(3)
    ]
    whole, *found = runner.run(tmp_path, isa, [paged_call(c) for c in (case, *steps)], THREADS)
    for s, runs in enumerate(found):
        for run, (out,) in enumerate(runs):
            assert same_bits([whole[run][0].reshape(5, 3, *out.shape[1:])[:, s]], [out])


def all_rows_arguments(rng, dtype, n2, group, d1, d2):
    """A call of five sequences, a token each, that see whole caches of KV_LENS rows."""
    page, pages = 32, [-(-rows // 32) for rows in KV_LENS]
    table = np.zeros((5, max(pages)), np.int32)
    for row, count, first in zip(table, pages, np.cumsum([0, *pages])):
        row[:count] = np.arange(first, first + count)
    caches = [rng.standard_normal((sum(pages), page, n2, d), dtype=np.float32).astype(dtype) for d in (d1, d2)]
    return {
        "query": rng.standard_normal((5, n2 * group, d1)).astype(dtype), "key": caches[0], "value": caches[1],
        "block_table": table, "actual_seq_qlen": [1] * 5, "scale_value": d1**-0.5, "head_num": n2 * group,
        "key_value_head_num": n2, "page_block_size": page, "cache_layout": "BSND",
    }  # fmt: skip


def window_decode_call(arguments, lens):
    return family_calls.window_infer_call(**arguments, window_size=500, actual_seq_kvlen=lens)


def compressed_decode_call(arguments, lens):
    rule = {"compress_block_size": 6, "compress_stride": 4, "select_block_size": 8, "select_block_count": 5}
    raw = [4 * (rows - 1) + 6 for rows in lens]
    return family_calls.compress_attention_infer_call(
        **arguments, **rule, init_blocks=1, local_blocks=2, actual_sel_seq_kvlen=raw
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("n2", "group", "d1", "d2"),
    [(3, 1, 40, 24), (3, 3, 40, 24), (2, 9, 64, 40), pytest.param(19, 2, 136, 120, id="heads of several tasks")],
)
@pytest.mark.parametrize("make_call", [window_decode_call, compressed_decode_call])
def test_decode_of_all_rows_does_not_depend_on_the_batch(runner, isa, tmp_path, dtype, n2, group, d1, d2, make_call):  # noqa: F811
    """A thread works on several kv heads of a token together if there are enough tokens for all threads: on those of
    five sequences if it is alone, never on those of one."""
    arguments = all_rows_arguments(np.random.default_rng([n2, group]), dtype, n2, group, d1, d2)
    parts = [
        {**arguments, "actual_seq_qlen": [1]} | {name: arguments[name][b : b + 1] for name in ("query", "block_table")}
        for b in range(5)
    ]
    calls = [make_call(part, [KV_LENS[b]]) for b, part in enumerate(parts)]
    whole, *found = runner.run(tmp_path, isa, [make_call(arguments, list(KV_LENS)), *calls], THREADS)
    for b, runs in enumerate(found):
        for alone_outputs in runs:
            for outputs in whole:
                assert same_bits([output[b : b + 1] for output in outputs], list(alone_outputs)), b
