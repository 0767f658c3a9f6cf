"""NsaSelectAttention on the twin: against the reference, and what the twin's rules say (they raise)."""

from dataclasses import replace

import numpy as np
import pytest

from ascendc.device import run_select
from support import ASCEND, DTYPES, SELECT_CASES, check_forward, make_select_case, random_select_case

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")
SEED = {"n2": 2, "group": 4, "d1": 192, "d2": 128, "select_block_size": 64, "select_block_count": 16}


def check(case, **options):
    *outputs, launched = run_select(case, **options)
    check_forward(case, *outputs)
    return launched


def case_of(dtype, q_lens, kv_lens, seed=5, **sizes):
    return make_select_case(np.random.default_rng(seed), DTYPES[dtype], q_lens, kv_lens, **{**SEED, **sizes})


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(40))
def test_random(seed, dtype):
    case = random_select_case(np.random.default_rng(seed), DTYPES[dtype], ASCEND, poison=seed % 3 > 0)
    check(case, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 350))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", sorted(SELECT_CASES))
def test_named(name, dtype):
    check(SELECT_CASES[name](DTYPES[dtype], ASCEND), aic_cores=3, seed=11, preempt=5)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("sparse_mode", [0, 2, 3])
def test_seed_shape(dtype, cores, sparse_mode):
    case = case_of(dtype, [7, 0, 4], [1100, 33, 1500], sparse_mode=sparse_mode)
    check(case, aic_cores=cores, seed=cores, preempt=9)


@pytest.mark.parametrize("group", [1, 3, 16, 17, 31, 32])
def test_groups(group):
    check(case_of("bfloat16", [3], [333], group=group, d1=48, d2=80, select_block_size=48), aic_cores=2)


def test_repeats_are_bitwise_equal():
    case = case_of("float16", [9, 5], [1700, 300])
    runs = [run_select(case, aic_cores=20, seed=s, preempt=3)[:3] for s in (0, 1, 2, 3)]
    for outputs in runs[1:]:
        for first, again in zip(runs[0], outputs):
            np.testing.assert_array_equal(first.view(np.uint16), again.view(np.uint16))


def test_what_cannot_be_right_contributes_nothing():
    """Indices out of range, prefix sums that decrease or pass the end, tokens behind the last sum."""
    case = case_of("float16", [3, 2], [70, 300], select_block_size=32, select_block_count=6)
    wild = case.topk_indices.copy()
    wild[..., 2], wild[..., 4] = 2**31 - 1, 700
    *outputs, _ = run_select(replace(case, topk_indices=wild))
    check_forward(replace(case, topk_indices=np.where(wild > 600, -1, wild)), *outputs)

    expected = run_select(case)[0]
    found, top, total, _ = run_select(replace(case, actual_seq_qlen=(3, 4)))
    np.testing.assert_array_equal(found[:4], expected[:4])
    assert not found[4].any() and np.isneginf(top[4]).all() and not total[4].any()
    for q_ends, kv_ends in [((3, 2**40), (70, 2**40)), ((3, -1), (70, 40)), ((-5, 5), (-2, 370))]:
        found = run_select(replace(case, actual_seq_qlen=q_ends, actual_seq_kvlen=kv_ends))[0]
        assert np.isfinite(found.astype(np.float32)).all()
