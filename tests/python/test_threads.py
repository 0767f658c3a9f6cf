"""Bitwise the same result in every run and for every number of threads, and from several Python threads at once.

The latter in PyNative mode only: in Graph mode MindSpore 2.10 itself ends with a segmentation fault when two Python
threads run any two Cells at once, be it a single matmul.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support import fingerprints, make_paged_case, make_select_case, run_cells
from support.run_cells import same_bits, to_array, to_arrays

SIZES = {"n2": 2, "group": 3, "d1": 40, "d2": 24, "select_block_size": 16, "select_block_count": 6}


@pytest.fixture(scope="module")
def one_thread():
    return fingerprints.in_a_fresh_process(repeats=2, OMP_NUM_THREADS="1")


@pytest.mark.parametrize("threads", ["1", "2", "3", None])
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


def run_all(job):
    """Outputs of one call of every kind: forward, gradient, decode."""
    (forward, inputs), (gradient, given), (decode, paged) = job
    return (*to_arrays(forward(*inputs)), *to_arrays(gradient(*given)), to_array(decode(*paged)))


def make_job(seed):
    """Cells shared by all jobs, shapes of its own."""
    rng = np.random.default_rng([13, seed])
    case = make_select_case(rng, np.float32, [3 + 17 * seed], [50 + 31 * seed], sparse_mode=3, **SIZES)
    paged = make_paged_case(
        rng, np.float32, "BSND", 2, None, [50 + 97 * seed] * (seed + 1), page_block_size=32, **SIZES
    )
    inputs = run_cells.forward_inputs(case)
    given = [run_cells.to_tensor(array) for array in (case.grad, *case.saved)]
    return (
        (run_cells.forward_cell(case), inputs),
        (run_cells.grad_cell(case), [given[0], *inputs[:3], *given[1:], *inputs[3:]]),
        (run_cells.forward_cell(paged), run_cells.forward_inputs(paged)),
    )


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("shapes", ["the same", "different"])
def test_calls_from_several_python_threads(workers, shapes):
    jobs = [make_job(seed if shapes == "different" else 2) for seed in range(4)]
    expected = [run_all(job) for job in jobs]
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(run_all, jobs * 15))
    for i, results in enumerate(found):
        assert same_bits(results, expected[i % len(jobs)])
