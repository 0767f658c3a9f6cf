# SPDX-License-Identifier: Apache-2.0
"""MsNsaWindowAttention on the twin: against the reference, and what the twin's rules say (they raise)."""

import numpy as np
import pytest

from ascendc.dense import run_window
from ms_nsa import family_reference
from support import DTYPES, compare_tensor
from support.family_cases import random_lengths
from support.family_terms import window_terms

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")


def arguments_of(rng, dtype, q_lens, kv_lens, n2=2, group=4, d1=192, d2=128, window=64, scale=None):
    """Keyword arguments of nsa_window_attention; key and value have NaN behind the last sequence."""
    q_lens, kv_lens = np.array(q_lens), np.array(kv_lens)
    sizes = (q_lens.sum(), n2 * group, d1), (kv_lens.sum(), n2, d1), (kv_lens.sum(), n2, d2)
    query, key, value = (rng.standard_normal(size).astype(DTYPES[dtype]) for size in sizes)
    return {
        "query": query, "key": key, "value": value, "scale_value": scale, "head_num": n2 * group,
        "window_size": window, "actual_seq_qlen": tuple(np.cumsum(q_lens).tolist()),
        "actual_seq_kvlen": tuple(np.cumsum(kv_lens).tolist()),
    }  # fmt: skip


def random_arguments(seed, dtype):
    rng = np.random.default_rng([7, seed])
    kv_lens = random_lengths(rng) * int(rng.choice([1, 1, 9]))
    q_lens = rng.integers(0, np.maximum(kv_lens, 4) + 3)
    sizes = {
        "n2": int(rng.integers(1, 4)), "group": int(rng.choice([1, 2, 3, 4, 7, 16, 32])),
        "d1": 16 * int(rng.integers(1, 17)), "d2": 16 * int(rng.integers(1, 17)),
        "window": int(rng.choice([1, 5, 17, 100, 300])), "scale": rng.choice([None, 0.7, -1.3]),
    }  # fmt: skip
    return arguments_of(rng, dtype, q_lens, kv_lens, **sizes)


def check_statistics(found, expected, dtype):
    score = np.maximum(1, np.abs(np.where(np.isfinite(expected[0]), expected[0], 0)))
    for kind, actual, wanted, terms in (
        ("softmax_max", found[0], expected[0], score), ("softmax_sum", found[1], expected[1], score * expected[1]),
    ):  # fmt: skip
        failure = compare_tensor(actual, wanted, kind, dtype, terms).failure
        assert not failure, f"{kind} {failure}"


def check(arguments, **options):
    out, *statistics, launched = run_window(arguments, **options)
    dtype = arguments["query"].dtype
    expected = family_reference.nsa_window_attention(**arguments)
    failure = compare_tensor(out, expected[0], "out", dtype, window_terms(arguments)["attention_out"]).failure
    assert not failure, failure
    check_statistics(statistics, expected[1:], dtype)
    return launched


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(12))
def test_random(seed, dtype):
    check(random_arguments(seed, dtype), aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 180))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("group,d1,d2", [(32, 256, 256), (17, 48, 80), (16, 16, 256), (5, 256, 16), (1, 16, 16)])
def test_sizes(group, d1, d2):
    rng = np.random.default_rng(group)
    check(arguments_of(rng, "bfloat16", [9, 130], [333, 130], group=group, d1=d1, d2=d2, window=150), aic_cores=2)


@pytest.mark.parametrize(
    "absent", [("actual_seq_kvlen",), ("actual_seq_qlen",), ("actual_seq_qlen", "actual_seq_kvlen")]
)
def test_absent_lengths(absent):
    """Those of keys are those of queries where these are given, else one sequence."""
    lens = [40, 7, 30] if absent == ("actual_seq_kvlen",) else [77]
    arguments = arguments_of(np.random.default_rng(3), "float16", lens, lens)
    expected = family_reference.nsa_window_attention(**arguments)
    out, *statistics, _ = run_window({**arguments, **dict.fromkeys(absent)})
    failure = compare_tensor(out, expected[0], "out", "float16", window_terms(arguments)["attention_out"]).failure
    assert not failure, failure
    check_statistics(statistics, expected[1:], "float16")


def test_repeats_are_bitwise_equal():
    """Over seeds and cores: no tile is cut."""
    arguments = arguments_of(np.random.default_rng(5), "float16", [100, 5, 64], [300, 3, 64])
    runs = [run_window(arguments, aic_cores=c, seed=c, preempt=3)[:3] for c in CORES]
    for outputs in runs[1:]:
        for first, again in zip(runs[0], outputs):
            np.testing.assert_array_equal(first.view(np.uint16), again.view(np.uint16))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("cores", [1, 3])
def test_only_who_sees_a_row_meets_what_is_in_it(cores, value):
    """NaN in a row of key or value, and beyond the sequences: tokens that do not see it are as if it were not there."""
    arguments = arguments_of(np.random.default_rng(6), "bfloat16", [90], [200], window=20)
    clean = run_window(arguments, aic_cores=cores)[:3]
    for name, seen in (("value", (0,)), ("key", (0, 1, 2))):
        poisoned = arguments[name].copy()
        poisoned[150, 1] = value
        found = run_window({**arguments, name: poisoned}, aic_cores=cores)[:3]
        sees = np.arange(90) + 110
        sees = (sees >= 150) & (sees < 170)
        for i, (first, again) in enumerate(zip(clean, found)):
            again, first = (np.asarray(array).astype(np.float32) for array in (again, first))
            np.testing.assert_allclose(again[~sees], first[~sees], atol=2e-2, rtol=2e-2)
            np.testing.assert_allclose(again[sees, :4], first[sees, :4], atol=2e-2, rtol=2e-2)
            if i in seen and np.isnan(value):
                assert np.isnan(again[sees, 4:]).any(axis=-1).all()


def test_lengths_that_cannot_be_right_contribute_nothing():
    """Prefix sums that decrease or pass the end, tokens behind the last one."""
    arguments = arguments_of(np.random.default_rng(8), "float16", [30, 40], [50, 70])
    expected = run_window(arguments)[0]
    found, top, total, _ = run_window({**arguments, "actual_seq_qlen": (30, 60)})
    np.testing.assert_array_equal(found[:30], expected[:30])
    assert not found[60:].any() and np.isneginf(top[60:]).all() and not total[60:].any()
    for q_ends, kv_ends in [((30, 2**40), (50, 2**40)), ((30, -1), (50, 40)), ((-5, 70), (-2, 120))]:
        broken = run_window({**arguments, "actual_seq_qlen": q_ends, "actual_seq_kvlen": kv_ends})[0]
        assert np.isfinite(broken.astype(np.float32)).all()


@pytest.mark.parametrize("size", [1e2, 1e30])
def test_large_scores(size):
    """A row's largest score weighs exactly 1, values near the largest finite number stay finite."""
    rng = np.random.default_rng(9)
    arguments = arguments_of(rng, "bfloat16", [40], [40], n2=1, d1=16, d2=16, window=300, scale=1.0)
    arguments["query"], arguments["key"] = (
        (arguments[name].astype(np.float32) * np.float32(size / 10)).astype(DTYPES["bfloat16"])
        for name in ("query", "key")
    )
    arguments["key"] = (
        arguments["key"]
        if size < 1e10
        else (arguments["key"].astype(np.float32) / np.float32(size / 1e6)).astype(DTYPES["bfloat16"])
    )
    arguments["value"] = np.full_like(arguments["value"], 3e38)
    check(arguments)


def slowest(launched):
    """Cycles of the launch, and of its busiest pipe."""
    busiest = max(max(core["busy"].values()) for core in launched.timing["cores"])
    return launched.timing["modelled_cycles"], busiest


def test_the_window_reaches_its_bound():
    """Modelled: at most 1.1 times the busiest pipe; 1.3 is the bar."""
    arguments = arguments_of(np.random.default_rng(1), "bfloat16", [1024], [4096], n2=1, window=512)
    cycles, busiest = slowest(run_window(arguments, checks=False)[-1])
    assert cycles <= 1.1 * busiest
    assert cycles <= 345_000
