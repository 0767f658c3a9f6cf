# SPDX-License-Identifier: Apache-2.0
"""Bitwise the same result in every run, for every number of threads, and for several calls at once.

The calls at once come from threads of C++ and from a graph's independent nodes, not from Python threads: MindSpore 2.10
itself gives wrong results or ends with a segmentation fault when two Python threads call any operators on the CPU at
once, even `Tensor.add` on tensors of their own, in PyNative and in Graph mode.
"""

import ml_dtypes
import numpy as np
import pytest
from mindspore import nn

from support import SelectCase, fingerprints, make_paged_case, make_select_case, run_cells
from support.case_file import paged_call, select_call, select_grad_call
from support.kernel_runner import native_runner
from support.marks import slow
from support.run_cells import same_bits

SIZES = {"n2": 2, "group": 3, "d1": 40, "d2": 24, "select_block_size": 16, "select_block_count": 6}


@pytest.fixture(scope="module")
def one_thread():
    return fingerprints.in_a_fresh_process(repeats=2, OMP_NUM_THREADS="1")


@pytest.mark.parametrize("threads", [slow("1"), slow("2"), "3", None])
def test_results_do_not_depend_on_the_number_of_threads(one_thread, threads):
    """Forward, gradient, decode; each repeated."""
    found = fingerprints.in_a_fresh_process(repeats=3, OMP_NUM_THREADS=threads)
    if threads:
        assert found["threads"] == int(threads)
    assert found["isa"] == one_thread["isa"]
    assert len({digests[0] for digests in found["fingerprints"].values()}) == len(found["fingerprints"])
    for name, digests in found["fingerprints"].items():
        assert set(digests) == set(one_thread["fingerprints"][name]), name


def test_repeats_in_graph_mode_agree_with_pynative_mode():
    for name, case in fingerprints.make_cases():
        plain = run_cells.run_operator(case)
        for _ in range(3):
            assert same_bits(plain, run_cells.run_operator(case, "graph")), name


def test_the_float_environment_of_the_caller(tmp_path):
    """From threads that round upward and flush subnormals come the same bits, and they keep their environment."""
    rng = np.random.default_rng(3)
    calls = []
    for dtype in (np.float32, ml_dtypes.bfloat16):
        select = make_select_case(rng, dtype, [70, 9], [90, 41], sparse_mode=3, **SIZES)
        select.value[..., 0] = 1e-39  # subnormal, and so are its weighted sums
        paged = make_paged_case(rng, dtype, "BSND", 2, None, [90, 41], page_block_size=32, **SIZES)
        calls += calls_of(select) + calls_of(paged)
    runner = native_runner()
    for isa in runner.isas():
        plain = runner.run(tmp_path, isa, calls, threads=(1, 2))
        other = runner.run(tmp_path, isa, calls, threads=(1, 2), KERNEL_RUNNER_ROUNDING="upward")
        for mine, its in zip(plain, other):
            assert all(same_bits(a, b) for a, b in zip(mine, its))


def small_cases(count=3):
    """Cases of different shapes with the same attributes."""
    for seed in range(count):
        rng, rows = np.random.default_rng([13, seed]), 50 + 31 * seed
        yield make_select_case(rng, np.float32, [3 + 17 * seed], [rows], sparse_mode=3, **SIZES)
        yield make_paged_case(rng, np.float32, "BSND", 2, None, [rows] * (seed + 1), page_block_size=32, **SIZES)


def calls_of(case):
    return [select_call(case), select_grad_call(case)] if isinstance(case, SelectCase) else [paged_call(case)]


def test_kernels_called_from_several_threads_at_once(tmp_path):
    """Every call in a thread of its own, over and over, each with its own team of OpenMP threads."""
    calls = [call for case in small_cases() for call in calls_of(case)]
    runner = native_runner()
    alone = runner.run(tmp_path, runner.isas()[-1], calls)
    for (expected,), repeats in zip(alone, runner.run_together(tmp_path, calls, 10)):
        for found in repeats:
            assert same_bits(expected, found)


def test_a_waiting_thread_joins_in(tmp_path):
    calls = [call for name, case in fingerprints.make_cases() for call in calls_of(case)]
    runner = native_runner()
    alone = runner.run(tmp_path, runner.isas()[-1], calls)
    results, joined = runner.run_joined(tmp_path, calls, 5)
    for (expected,), repeats in zip(alone, results):
        for found in repeats:
            assert same_bits(expected, found)
    assert joined > 0


class Independent(nn.Cell):
    """Calls that need nothing of each other: the runtime is free to run them at once."""

    def __init__(self, cases):
        super().__init__()
        self.attentions = nn.CellList([run_cells.forward_cell(case) for case in cases])

    def construct(self, inputs):
        outputs = ()
        for cell, arguments in zip(self.attentions, inputs):
            outputs += (cell(*arguments),)
        return outputs


@pytest.mark.slow
def test_independent_calls_of_one_graph():
    cases = list(small_cases())
    expected = [run_cells.run_forward(case) for case in cases]
    with run_cells.run_mode("graph"):
        net, inputs = Independent(cases), [tuple(run_cells.forward_inputs(case)) for case in cases]
        for _ in range(10):
            for outputs, wanted in zip(net(inputs), expected):
                outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                assert same_bits(wanted, run_cells.to_arrays(outputs))
