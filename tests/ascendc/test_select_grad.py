# SPDX-License-Identifier: Apache-2.0
"""The gradient on the twin: against the reference, and what the twin's rules say (they raise)."""

from dataclasses import replace

import numpy as np
import pytest

from ascendc import host
from ascendc.device import run_select, run_select_grad
from support import ASCEND, DTYPES, SELECT_CASES, check_gradients, make_select_case, random_select_case, short_masks
from support.marks import slow

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")
SEED = {"n2": 2, "group": 4, "d1": 192, "d2": 128, "select_block_size": 64, "select_block_count": 16}


def check(case, **options):
    *gradients, launched = run_select_grad(case, **options)
    check_gradients(case, *gradients)
    return launched


def case_of(dtype, q_lens, kv_lens, seed=5, **sizes):
    return make_select_case(np.random.default_rng(seed), DTYPES[dtype], q_lens, kv_lens, **{**SEED, **sizes})


def same_bits(results):
    first, *others = [[output.view(np.uint16) for output in gradients] for gradients in results]
    return all(np.array_equal(*pair) for other in others for pair in zip(first, other))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(24))
def test_random(seed, dtype):
    case = random_select_case(np.random.default_rng(seed), DTYPES[dtype], ASCEND, poison=seed % 3 > 0)
    check(case, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(400, 424))
def test_beyond_a_mask_all_is_dropped(seed, dtype):
    """Its elements there are not read either: the twin would say so."""
    rng = np.random.default_rng(seed)
    small, dropped = short_masks(rng, random_select_case(rng, DTYPES[dtype], ASCEND))
    options = {"aic_cores": CORES[seed % 4], "seed": seed, "preempt": 7 * (seed % 2)}
    check_gradients(dropped, *run_select_grad(small, saved=dropped.saved, **options)[:3])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 200))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", sorted(SELECT_CASES))
def test_named(name, dtype):
    check(SELECT_CASES[name](DTYPES[dtype], ASCEND), aic_cores=3, seed=11, preempt=5)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("sparse_mode", [slow(0), slow(2), 3])
def test_seed_shape(dtype, cores, sparse_mode):
    case = case_of(dtype, [7, 0, 4], [1100, 33, 1500], sparse_mode=sparse_mode)
    check(case.poisoned(), aic_cores=cores, seed=cores, preempt=9)


@pytest.mark.parametrize("group", [1, 2, 3, 5, 9, 11, 16, 17, 31, 32])
def test_groups(group):
    check(case_of("bfloat16", [9], [333], group=group, d1=48, d2=80, select_block_size=48, sparse_mode=3))


@pytest.mark.parametrize("d1,d2", [(16, 256), (256, 16), (256, 256), (80, 112)])
@pytest.mark.parametrize("size", [16, 80, 112, 128])
def test_head_dims_and_blocks(d1, d2, size):
    sizes = {"d1": d1, "d2": d2, "select_block_size": size, "select_block_count": 11, "group": 7}
    check(case_of("float16", [13, 5], [401, 77], sparse_mode=2, **sizes))


@pytest.mark.parametrize("tail", range(1, 16))
def test_tails(tail):
    """Sequences and tiles end anywhere inside a 16-row fractal."""
    sizes = {"n2": 1, "group": tail, "d1": 32, "d2": 48, "select_block_size": 16, "select_block_count": 20}
    check(case_of("float16", [tail, 3], [16 + tail, 272 + tail], **sizes).poisoned(), aic_cores=2)


@pytest.mark.parametrize("sparse_mode", [0, 2, 3])
def test_more_than_a_segment(sparse_mode):
    """Tokens beyond one segment, blocks that every token selects, one in every slot, pieces that nobody sees."""
    case = case_of("float16", [700, 300], [700, 130], n2=1, group=2, d1=32, d2=16, select_block_size=32,
                   select_block_count=18, sparse_mode=sparse_mode)  # fmt: skip
    case.topk_indices[::3, :, 4] = 0
    case.topk_indices[5:9] = 1
    case.topk_indices[:300, :, 2] = 21
    check(case.poisoned(), aic_cores=5, seed=2, preempt=50)


def test_bits_do_not_depend_on_the_schedule():
    """Neither repeats, nor the order in which cores run, nor how many there are change a bit."""
    case = case_of("float16", [400, 50], [600, 300], n2=1, group=3, d1=48, d2=32, select_block_size=32,
                   select_block_count=7, sparse_mode=3)  # fmt: skip
    runs = [(20, 0), (20, 0), (20, 1), (20, 2), (1, 3), (3, 4), (24, 5)]
    assert same_bits([run_select_grad(case, aic_cores=c, seed=s, preempt=3 * (s > 0))[:3] for c, s in runs])


def test_absent_slots_leave_no_trace():
    """-1 between the indices changes no bit of dk and dv."""
    case = case_of("bfloat16", [21], [900], select_block_count=9)
    rng, wide = np.random.default_rng(1), np.full((*case.topk_indices.shape[:-1], 14), -1, np.int32)
    wide[..., np.sort(rng.choice(14, 9, replace=False))] = case.topk_indices
    assert same_bits([run_select_grad(replace(case, topk_indices=t))[1:3] for t in (case.topk_indices, wide)])


def test_what_cannot_be_right_contributes_nothing():
    """Indices out of range, prefix sums that decrease or pass the end, tokens behind the last sum."""
    case = case_of("float16", [3, 2], [70, 300], select_block_size=32, select_block_count=6)
    wild = case.topk_indices.copy()
    wild[..., 2], wild[..., 4] = 2**31 - 1, 700
    right = replace(case, topk_indices=np.where(wild > 600, -1, wild))
    check_gradients(right, *run_select_grad(replace(case, topk_indices=wild), saved=right.saved)[:3])

    fewer = replace(case, actual_seq_qlen=(3, 4))
    dq = run_select_grad(fewer, saved=case.saved)[0]
    assert not dq[4].any() and np.array_equal(dq[:4], run_select_grad(case)[0][:4])
    for q_ends, kv_ends in [((3, 2**40), (70, 2**40)), ((3, -1), (70, 40)), ((-5, 5), (-2, 370))]:
        broken = replace(case, actual_seq_qlen=q_ends, actual_seq_kvlen=kv_ends)
        saved = run_select(broken)[:3]
        gradients = run_select_grad(broken, saved=saved)[:3]
        assert all(np.isfinite(gradient.astype(np.float32)).all() for gradient in gradients)


def test_rows_that_no_token_reaches_get_zeros():
    """Kv rows of sequences without tokens and behind the last prefix sum."""
    case = case_of("bfloat16", [4, 0], [50, 90], d1=32, d2=16, select_block_size=16)
    _, dk, dv, _ = run_select_grad(replace(case, actual_seq_kvlen=(50, 100)), saved=case.saved)
    assert not dk[50:].any() and not dv[50:].any() and dk[:50].any() and dv[:50].any()


def test_gradient_of_the_forward_kernel():
    """With what the forward left, not the reference."""
    case = case_of("bfloat16", [33, 20], [120, 300], select_block_size=48, sparse_mode=3)
    check(case, saved=run_select(case)[:3])


def test_limits_are_told():
    shapes = host.shapes_of(case_of("float16", [2], [40], d1=32, d2=16))
    shapes.attention.select_block_count = 9000
    with pytest.raises(ValueError, match="MsNsaSelectAttentionGrad: select_block_count must be at most 8192, got 9000"):
        host.tile(shapes, 24, "grad")


@pytest.mark.slow
def test_reaches_its_bound():
    """Modelled, a quarter of the benchmark's heads on a quarter of the cores: the slowest core takes at most 1.4
    times its busiest pipe, and all that the cubes load is a fraction of the selected keys and values."""
    case = case_of("bfloat16", [4096], [4096], n2=1, styles=("ascending",))
    rows = case.query.shape[:2]
    ones = np.ones(case.attention_out_shape, case.dtype), *np.ones((2, *rows, 8), np.float32)  # time only
    launched = run_select_grad(case, aic_cores=6, saved=ones, checks=False)[-1]
    busiest = max(max(core["busy"].values()) for core in launched.timing["cores"])
    assert launched.timing["modelled_cycles"] <= 1.4 * busiest
    assert launched.timing["modelled_cycles"] <= 1_520_000
    selected = 16 * 64 * (192 + 128) * 2
    assert launched.timing["bytes"]["GM->L1"] <= 0.12 * 4096 * selected
