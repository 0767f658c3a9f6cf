# SPDX-License-Identifier: Apache-2.0
"""The gradients of the window and of compressed attention on the twin: against the reference, and what the twin's
rules say (they raise)."""

import numpy as np
import pytest

from ascendc.ranged_grad import check, forward, run_grad
from ms_nsa.family_rules import window_count
from support import DTYPES
from support.marks import slow

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")


def make(rng, dtype, q_lens, kv_lens, n2=2, group=4, d1=192, d2=128, **rule):
    """Arguments of the window (window_size) or of compressed attention (compress_block_size, compress_stride,
    sparse_mode); rows of key and value that no window has are NaN."""
    rows = sum(kv_lens)
    if "compress_stride" in rule:
        rows = sum(window_count(int(n), rule["compress_block_size"], rule["compress_stride"]) for n in kv_lens)
    spare = 3 if "compress_stride" in rule else 0
    shapes = {"query": (sum(q_lens), n2 * group, d1), "key": (rows + spare, n2, d1), "value": (rows + spare, n2, d2)}
    arguments = {name: rng.standard_normal(shape).astype(DTYPES[dtype]) for name, shape in shapes.items()}
    arguments["key"][rows:] = arguments["value"][rows:] = np.nan
    ends = {"actual_seq_qlen": q_lens, "actual_seq_kvlen": kv_lens}
    arguments.update({name: tuple(np.cumsum(lens).tolist()) for name, lens in ends.items()})
    if "compress_stride" in rule:
        arguments.update(select_block_size=16, select_block_count=0, init_blocks=0, local_blocks=0, topk_mask=None)
        rule = {"atten_mask": None, **rule}
    return {**arguments, "scale_value": None, "head_num": n2 * group, **rule}


def random_arguments(seed, dtype, window):
    rng = np.random.default_rng([41, seed])
    batch = int(rng.integers(1, 4))
    kv_lens = rng.integers(0, 300, batch) * rng.choice([0, 1, 1, 1], batch)
    q_lens = np.minimum(rng.integers(0, 120, batch), kv_lens + rng.integers(0, 9, batch))
    widths = {name: 16 * int(rng.integers(1, 17)) for name in ("d1", "d2")}
    sizes = {"n2": int(rng.integers(1, 4)), "group": int(rng.choice([1, 2, 3, 4, 7, 32])), **widths}
    if window:
        return make(rng, dtype, q_lens.tolist(), kv_lens.tolist(), **sizes, window_size=int(rng.integers(1, 200)))
    stride = 16 * int(rng.integers(1, 4))
    rule = {"compress_stride": stride, "compress_block_size": min(128, stride + 16 * int(rng.integers(0, 3)))}
    kv_lens = kv_lens * int(rng.integers(1, 12))
    mask = (rng.random((max(q_lens) + 1, 300)) < 0.4).astype(np.uint8) if seed % 3 == 0 else None
    rule.update(sparse_mode=int(rng.choice([0, 2, 3])), atten_mask=mask)
    return make(rng, dtype, q_lens.tolist(), kv_lens.tolist(), **sizes, **rule)


@pytest.mark.parametrize("window", [True, False], ids=["window", "compressed"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", [*range(6), *map(slow, range(6, 12))])
def test_random(seed, dtype, window):
    arguments = random_arguments(seed, dtype, window)
    rng, rows = np.random.default_rng(seed), (*arguments["query"].shape[:2], 8)
    given = [rng.standard_normal(rows).astype(np.float32) if seed % 4 == i else None for i in (1, 2)]
    check(arguments, given, seed=seed, aic_cores=CORES[seed % 4], preempt=7 * (seed % 2))


@pytest.mark.slow
@pytest.mark.parametrize("window", [True, False], ids=["window", "compressed"])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 125))
def test_random_long(seed, dtype, window):
    test_random(seed, dtype, window)


WINDOW = {"window_size": 100}
COMPRESSED = {"compress_block_size": 32, "compress_stride": 16, "sparse_mode": 3}


def rules(seed):
    """Two sequences of the window and of compressed attention that make several segments of tokens."""
    rng, sizes = np.random.default_rng(seed), {"n2": 1, "group": 2, "d1": 32, "d2": 16}
    yield make(rng, "float16", [700, 90], [760, 90], **sizes, **WINDOW)
    yield make(rng, "float16", [700, 90], [3000, 90], **sizes, **COMPRESSED)


@pytest.mark.parametrize("which", [0, 1], ids=["window", "compressed"])
def test_bits_do_not_depend_on_the_schedule(which):
    """Neither repeats, nor the order in which cores run, nor how many there are change a bit."""
    arguments = list(rules(3))[which]
    rng = np.random.default_rng(1)
    grad = rng.standard_normal((790, 2, 16)).astype(np.float16)
    of_statistics = rng.standard_normal((2, 790, 2, 8)).astype(np.float32)
    runs = [(20, 0), (20, 1), (1, 2), (3, 3), (24, 4)]
    found = [
        run_grad(arguments, grad, of_statistics=given, aic_cores=c, seed=s, preempt=3 * (s > 0))[:3]
        for given in ((None, None), of_statistics)
        for c, s in runs
    ]
    for same in (found[: len(runs)], found[len(runs) :]):
        assert all(a.tobytes() == b.tobytes() for each in same[1:] for a, b in zip(each, same[0]))


@pytest.mark.parametrize("statistics", [False, True], ids=["", "statistics"])
@pytest.mark.parametrize("which", [0, 1], ids=["window", "compressed"])
def test_more_than_a_segment(which, statistics):
    given = np.random.default_rng(6).standard_normal((2, 790, 2, 8)).astype(np.float32) if statistics else (None, None)
    check(list(rules(4))[which], given, aic_cores=5, seed=2, preempt=50)


@pytest.mark.parametrize("which", [0, 1], ids=["window", "compressed"])
def test_keys_that_are_not_finite(which):
    """NaN and Inf reach what sees them, and nothing else: not the queries that share a tile with those that do."""
    arguments = list(rules(5))[which]
    arguments["key"][[3, 61, 130]] = np.nan
    arguments["key"][170, 0, 5] = np.inf
    arguments["value"][40] = np.nan
    check(arguments, aic_cores=5)


def test_rows_that_nobody_sees():
    """Before the first query's window, and, of a mask, dropped by all; in blocks that other rows are seen of."""
    rng, sizes = np.random.default_rng(6), {"n2": 2, "group": 3, "d1": 48, "d2": 32}
    arguments = make(rng, "bfloat16", [60, 20], [333, 40], **sizes, window_size=70)
    for name in ("key", "value"):
        arguments[name][: 333 - 60 - 70 + 1] = np.nan
    check(arguments)
    mask = np.zeros((60, 200), np.uint8)
    mask[:, [4, 40, 77]] = 1
    arguments = make(rng, "bfloat16", [60, 20], [2333, 400], **sizes, **COMPRESSED, atten_mask=mask)
    for name in ("key", "value"):
        arguments[name][[4, 40, 77]] = np.nan
        arguments[name][144 + 4] = np.nan
    check(arguments)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("window", [1, 64, 65, 512, 5000])
def test_windows(window, dtype):
    check(
        make(np.random.default_rng(window), dtype, [200, 0, 70], [200, 33, 300], n2=1, window_size=window), aic_cores=20
    )


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [False, True], ids=["", "zeros"])
@pytest.mark.parametrize("rule, most", [({"window_size": 512}, 1.25), (COMPRESSED, 1.3)], ids=["window", "compressed"])
def test_reaches_its_bound(rule, most, zeros):
    """Modelled, a quarter of the heads on a quarter of the cores, against the busiest pipe, which is MTE1. Gradients of
    the statistics that are zeros, as MindSpore hands them over, change little."""
    arguments = make(np.random.default_rng(1), "bfloat16", [4096], [4096], n2=1, **rule)
    for name in ("key", "value"):
        arguments[name][np.isnan(arguments[name])] = 0  # else tokens near such keys get tiles of their own
    rows = arguments["query"].shape[:2]
    ones = np.ones((*rows, 128), DTYPES["bfloat16"]), *np.ones((2, *rows, 8), np.float32)  # time only
    of_statistics = (np.zeros((*rows, 8), np.float32),) * 2 if zeros else (None, None)
    launched = run_grad(arguments, ones[0], ones, of_statistics, aic_cores=6, checks=False)[-1]
    busiest = max(max(core["busy"].values()) for core in launched.timing["cores"])
    assert busiest == max(core["busy"].get("MTE1", 0) for core in launched.timing["cores"])
    assert launched.timing["modelled_cycles"] <= most * busiest


@pytest.mark.parametrize("shape", [(40, 30), (90, 12)])
def test_beyond_a_mask_all_is_dropped(shape):
    """Its elements there are not read either: the twin would say so."""
    rng = np.random.default_rng(8)
    arguments = make(rng, "float16", [70, 20], [900, 300], n2=1, d1=32, d2=16, **COMPRESSED)
    small, dropped = (rng.random(shape) < 0.3).astype(np.uint8), np.ones((90, 60), np.uint8)
    dropped[: shape[0], : shape[1]] = small
    grad = rng.standard_normal((90, 4, 16)).astype(np.float16)
    saved = forward({**arguments, "atten_mask": dropped})
    found = [run_grad({**arguments, "atten_mask": mask}, grad, saved=saved)[:3] for mask in (small, dropped)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*found))
    check({**arguments, "atten_mask": dropped})


@pytest.mark.parametrize(
    "ends", [((3, 2**40), (70, 2**40)), ((60, -1), (70, 40)), ((-5, 65), (-2, 370)), ((60, 64), (60, 70))]
)
@pytest.mark.parametrize("rule", [WINDOW, COMPRESSED], ids=["window", "compressed"])
def test_lengths_that_cannot_be_right_contribute_nothing(ends, rule):
    """Nothing is read or written beyond the tensors, and every gradient is written."""
    rng = np.random.default_rng(9)
    arguments = make(rng, "float16", [60, 5], [300, 70], n2=1, d1=32, d2=16, **rule)
    for name in ("key", "value"):
        arguments[name] = np.nan_to_num(arguments[name])
    saved = forward(arguments)
    grad = rng.standard_normal(saved[0].shape).astype(np.float16)
    broken = {**arguments, "actual_seq_qlen": ends[0], "actual_seq_kvlen": ends[1]}
    found = run_grad(broken, grad, saved=saved)[:3]
    assert [each.shape for each in found] == [arguments[name].shape for name in ("query", "key", "value")]
