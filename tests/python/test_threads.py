"""Bitwise the same result in every run and for every number of threads.

Calls from two Python threads at once cannot be tested through Cells: MindSpore 2.10 itself gives wrong results or ends
with a segmentation fault when two Python threads call any operators on the CPU at once, be it `Tensor.add`.
"""

import pytest

from support import fingerprints, run_cells
from support.run_cells import same_bits


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
