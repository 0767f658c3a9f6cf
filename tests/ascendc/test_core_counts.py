# SPDX-License-Identifier: Apache-2.0
"""Token-outer on the twin: neither the number of the cores, nor their order, nor other sequences change a bit."""

from dataclasses import replace

import numpy as np
import pytest

from ascendc.device import run_infer, run_select
from ascendc.paged_family import COMPRESSED, WINDOW, compressed_call, run, window_call
from support import ASCEND, DTYPES, make_paged_case, make_select_case, random_paged_case, random_select_case
from support.marks import slow

HALVES = ("float16", "bfloat16")
SIZES = {"n2": 2, "group": 4, "d1": 64, "d2": 32, "select_block_size": 64, "select_block_count": 40}
RUNS = (
    {"aic_cores": 1},
    {"aic_cores": 3, "seed": 1, "preempt": 5},
    {"aic_cores": 20, "seed": 2},
    {"aic_cores": 24, "seed": 3, "preempt": 3},
    {"aic_cores": 24, "seed": 3, "preempt": 3},
)


def check_bits(run_once, runs=RUNS):
    """run_once(**options): the outputs, as arrays."""
    found = [[np.asarray(out).tobytes() for out in run_once(**options)] for options in runs]
    assert all(outputs == found[0] for outputs in found[1:])


def decode_case(dtype, kv_lens, seed=7, **sizes):
    rng = np.random.default_rng(seed)
    case = make_paged_case(
        rng, DTYPES[dtype], "BSND", 1, None, kv_lens, page_block_size=128, spare_pages=1, **{**SIZES, **sizes}
    )
    return replace(case, return_softmax_lse=True)


def decode(case):
    return lambda **options: run_infer(case, **options)[:-1]


def forward(case):
    return lambda **options: run_select(case, schedule="token", **options)[:-1]


def family(operator, call):
    return lambda **options: run(operator, *call, **options)[0].values()


DECODES = {
    "one sequence, three bundles": ([2600], {"n2": 1}),
    "units of all lengths": ([1100, 64, 0, 2600, 129, 1024, 1025], {}),
    "the shape of the benchmarks": ([1100, 2048], {"d1": 192, "d2": 128, "select_block_count": 16}),
    "steps of one piece": ([2600, 500], {"d1": 256, "d2": 256, "select_block_size": 48, "n2": 1}),
    "one query head": ([1500, 300], {"group": 1}),
    "more heads than pieces": ([1500, 100], {"group": 32, "d2": 256, "n2": 1}),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", DECODES)
def test_selected_decode(name, dtype):
    kv_lens, sizes = DECODES[name]
    check_bits(decode(decode_case(dtype, kv_lens, **sizes)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seen", [0.002, 0.1, 0.6])
def test_decode_with_holes(seen, dtype):
    """Fewer rows than their cost says: cuts before the first one and behind the last."""
    case, rng = decode_case(dtype, [2600, 1800, 300], n2=1), np.random.default_rng(2)
    check_bits(decode(replace(case, atten_mask=rng.random((1, 2600)) >= seen)))
    few = np.where(rng.random(case.topk_indices.shape) < seen, case.topk_indices, -1)
    check_bits(decode(replace(case, topk_indices=few)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", [*range(700, 706), *map(slow, range(706, 740))])
def test_random_cases(seed, dtype):
    rng = np.random.default_rng(seed)
    check_bits(decode(replace(random_paged_case(rng, DTYPES[dtype], ASCEND), return_softmax_lse=True)))
    check_bits(forward(random_select_case(rng, DTYPES[dtype], ASCEND)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sparse_mode", [0, 3])
def test_forward(sparse_mode, dtype):
    rng = np.random.default_rng(5)
    check_bits(
        forward(make_select_case(rng, DTYPES[dtype], [5, 0, 3], [1700, 33, 2600], sparse_mode=sparse_mode, **SIZES))
    )


FAMILY = {"n2": 2, "group": 4, "d1": 64, "d2": 32, "page": 128}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("window", [512, 5000])
def test_window_decode(window, dtype):
    check_bits(
        family(WINDOW, window_call(np.random.default_rng(6), dtype, [1, 3, 2], [900, 300, 2600], window, **FAMILY))
    )


@pytest.mark.parametrize("dtype", HALVES)
def test_compressed_decode(dtype):
    """The chosen blocks too."""
    call = compressed_call(np.random.default_rng(6), dtype, [1, 3, 2], [9000, 300, 40000], **FAMILY)
    check_bits(family(COMPRESSED, call))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_sequence_has_the_same_bits_alone(dtype):
    case = decode_case(dtype, [1100, 700, 2600, 40])
    together = run_infer(case, aic_cores=20)[:-1]
    for b in range(4):
        own = {name: getattr(case, name)[b : b + 1] for name in ("query", "topk_indices", "block_table")}
        alone = replace(case, actual_seq_kvlen=case.actual_seq_kvlen[b : b + 1], **own)
        for mine, all_of_them in zip(run_infer(alone, aic_cores=20)[:-1], together):
            assert mine.tobytes() == all_of_them[b : b + 1].tobytes()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("operator", [WINDOW, COMPRESSED])
def test_a_range_of_rows_has_the_same_bits_alone(operator, dtype):
    make = (lambda *call: window_call(*call, 2000, **FAMILY)) if operator == WINDOW else (
        lambda rng, kind, q_lens, rows: compressed_call(rng, kind, q_lens, [16 * n for n in rows], **FAMILY)
    )  # fmt: skip
    tensors, attributes = make(np.random.default_rng(8), dtype, [1, 1, 1], [1100, 2600, 40])
    together = run(operator, tensors, attributes, aic_cores=24)[0]
    for b in range(3):
        own = {name: array if name in ("key", "value") else array[b : b + 1] for name, array in tensors.items()}
        alone = run(operator, own, attributes, aic_cores=24)[0]
        assert all(alone[name].tobytes() == together[name][b : b + 1].tobytes() for name in together)
