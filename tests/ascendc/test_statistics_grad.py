# SPDX-License-Identifier: Apache-2.0
"""Gradients through softmax_max and softmax_sum on the twin: against the reference, and what zeros of them cost."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ascendc import device, host
from ascendc.device import run_select, run_select_grad
from support import ASCEND, DTYPES, check_gradients, make_select_case, random_select_case
from twin import twin

HALVES = ("float16", "bfloat16")
SIZES = {"n2": 2, "group": 3, "d1": 48, "d2": 32, "select_block_size": 16, "select_block_count": 4}
CORES = [{"aic_cores": cores} for cores in (1, 3, 20)]
RUNS = [{"aic_cores": 1, "seed": 1}, {"aic_cores": 3, "seed": 2, "preempt": 5}, {"aic_cores": 20, "seed": 3}]


def statistics_case(dtype, seed=0, q_lens=(9, 30, 2), kv_lens=(40, 90, 9), **changes):
    """Gradients in all lanes of the statistics; among the rows are some that see nothing."""
    rng = np.random.default_rng([23, seed])
    sizes = {**SIZES, "sparse_mode": 3, **changes}
    case = make_select_case(rng, DTYPES[dtype], list(q_lens), list(kv_lens), **sizes)
    case.topk_indices[2] = -1
    shape = (*case.query.shape[:2], 8)
    case.statistics_grad = tuple(rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    return case


def of_log_sum_exp(case):
    """Gradients of a function of max + log(sum)."""
    lanes, total = case.statistics_grad[0].astype(np.float64), case.forward[2]
    case.statistics_grad = lanes.astype(np.float32), (lanes / np.where(total == 0, 1, total)).astype(np.float32)
    return case


def same_bits(*results):
    first, *others = ([array.view(np.uint16) for array in gradients[:3]] for gradients in results)
    return all(np.array_equal(*pair) for other in others for pair in zip(first, other))


@pytest.mark.parametrize("dtype", HALVES)
def test_any_gradients(dtype):
    """Bits depend neither on the cores nor on their order."""
    case = statistics_case(dtype).poisoned()
    results = [run_select_grad(case, **options) for options in RUNS]
    check_gradients(case, *results[0][:3])
    assert same_bits(*results)


@pytest.mark.parametrize("seed", range(6))
def test_random(seed):
    """Half of the tokens have gradients of statistics."""
    rng, dtype = np.random.default_rng(1000 + seed), HALVES[seed % 2]
    case = random_select_case(rng, DTYPES[dtype], ASCEND)
    shape = (*case.query.shape[:2], 8)
    some = rng.random((shape[0], 1, 1)) < 0.5
    case.statistics_grad = tuple((rng.standard_normal(shape) * some).astype(np.float32) for _ in range(2))
    check_gradients(case, *run_select_grad(case, seed=seed, preempt=7 * (seed % 3 > 0), **CORES[seed % 3])[:3])


@pytest.mark.parametrize(
    "changes",
    [
        {"group": 1, "d1": 192, "d2": 128, "select_block_size": 64},
        {"group": 32, "n2": 1, "d1": 16, "d2": 16, "q_lens": (5,), "kv_lens": (40,)},
        {"group": 5, "d1": 256, "d2": 256, "select_block_size": 128, "select_block_count": 2, "scale_value": -0.1},
        {"mask": "random"},
    ],
)
def test_shapes(changes):
    """Also several strips of a block, keys that a mask hides, and a scale that turns the order of scores round."""
    mask = changes.pop("mask", None)
    case = statistics_case("bfloat16", 1, **changes)
    if mask:
        case.atten_mask = np.random.default_rng(4).random((30, 90)) < 0.4
    gradients = run_select_grad(case, aic_cores=3, seed=5, preempt=7)
    check_gradients(case, *gradients[:3])


@pytest.mark.parametrize("dtype", HALVES)
def test_of_equal_keys_the_first_is_the_largest(dtype):
    """Blocks are listed out of order and twice, over several segments of tokens."""
    case = statistics_case(dtype, 2, (300,), (200,), n2=1, sparse_mode=0)
    case.key[:] = case.key[0]
    case.topk_indices[:] = [7, 3, 3, 9]
    case.topk_indices[::2] = [3, 9, 7, 3]
    check_gradients(case, *run_select_grad(case, aic_cores=5, seed=3)[:3])


@pytest.mark.parametrize("given", [0, 1])
def test_the_gradient_of_one_statistic_alone(given):
    case = statistics_case("bfloat16", 3)
    zeros = np.zeros_like(case.statistics_grad[0])
    pairs = [
        tuple(array if i == given else other for i, array in enumerate(case.statistics_grad)) for other in (zeros, None)
    ]
    case.statistics_grad = pairs[0]
    both = run_select_grad(case)
    check_gradients(case, *both[:3])
    assert same_bits(both, run_select_grad(replace(case, statistics_grad=pairs[1]), saved=case.saved))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_function_of_the_log_sum_exp_looks_for_no_key(dtype):
    case = of_log_sum_exp(statistics_case(dtype, 4))
    *gradients, launched = run_select_grad(case, aic_cores=2)
    check_gradients(case, *gradients)
    searched = run_select_grad(statistics_case(dtype, 4), aic_cores=2)[-1]
    assert launched.timing["modelled_cycles"] < 0.9 * searched.timing["modelled_cycles"]


def test_zeros_change_no_bit_and_cost_next_to_nothing():
    """MindSpore hands over zeros for a statistic without a gradient. Modelled."""
    case = statistics_case("bfloat16", 5, (512,), (512,), n2=1, group=4, d1=192, d2=128, select_block_size=64,
                           select_block_count=8, sparse_mode=0)  # fmt: skip
    zeros = np.zeros_like(case.statistics_grad[0])
    saved = run_select(case, aic_cores=2, checks=False)[:3]
    runs = [run_select_grad(replace(case, statistics_grad=given), aic_cores=2, saved=saved, checks=False)
            for given in (None, (zeros, zeros))]  # fmt: skip
    assert same_bits(*runs)
    without, with_zeros = (run[-1].timing["modelled_cycles"] for run in runs)
    assert with_zeros <= 1.01 * without


def test_nan_in_a_gradient_reaches_its_row_alone():
    case = statistics_case("float16", 6)
    for which in range(2):
        given = [array.copy() for array in case.statistics_grad]
        given[which][7, 2] = np.nan
        dq = run_select_grad(replace(case, statistics_grad=tuple(given)), saved=case.saved)[0].astype(np.float32)
        assert np.isnan(dq[7, 2]).any() and np.isnan(dq).any(axis=2).sum() == 1


def test_workspace_without_gradients_of_statistics_is_as_before():
    case = statistics_case("float16", 7)
    with_them = host.tile(host.shapes_of(case), 20, "grad").workspace_bytes
    assert host.tile(host.shapes_of(replace(case, statistics_grad=None)), 20, "grad").workspace_bytes < with_them


PLANTED = [
    ("statistics_grad.h", "V_S>(kEvents + slot)"),
    ("statistics_grad.h", "S_MTE3>(kEvents + slot)"),
    ("row_dots.h", "MTE2_V>(kEvents + slot_)"),
    ("row_dots.h", "S_V>(kEvents + slot_)"),
    ("top_keys.h", "MTE2_V>(kLoaded + slot)"),
    ("top_keys.h", "V_S>(kEvent)"),
    ("grad_weights.h", "V_S>(0)"),
    ("grad_weights.h", "S_V>(0)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "flag"), PLANTED)
def test_the_twin_reports_a_flag_that_is_left_out(monkeypatch, tmp_path, file, flag):
    """Both ends of it, where it orders the new work on UB."""
    shutil.copytree(device.KERNELS, tmp_path / "kernels")
    path = tmp_path / "kernels" / file
    pattern = rf" *AscendC::(Set|Wait)Flag<AscendC::HardEvent::{re.escape(flag)};\n"
    text, removed = re.subn(pattern, "", path.read_text())
    assert removed >= 2
    path.write_text(text)
    kernel = twin.compile_kernel(
        tmp_path / "kernels" / "ms_nsa_select_attention_grad.cpp",
        ["DTYPE_QUERY=half"],
        [host.ASCENDC / "common", tmp_path / "kernels"],
    )
    monkeypatch.setattr(device, "kernel", lambda *_: kernel)
    with pytest.raises(twin.TwinError, match=r"hazard|scalar|race"):
        run_select_grad(statistics_case("float16"), aic_cores=3, seed=2)
