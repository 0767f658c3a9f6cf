# SPDX-License-Identifier: Apache-2.0
"""Every instruction set of this machine through the Cells, and the two ways to choose one."""

import itertools

import numpy as np
import pytest

from ms_nsa import backend
from support import (
    NAMED_CASES,
    check_gradients,
    fingerprints,
    kernel_runner,
    random_paged_case,
    random_select_case,
    run_cells,
)
from support.fingerprints import run_python

ISAS = backend.supported_isas()
RUN_A_CELL = """
import mindspore as ms, numpy as np, ms_nsa
rows = ms.Tensor(np.ones((4, 1, 3), np.float32))
indices = ms.Tensor(np.zeros((4, 1, 1), np.int32))
print(ms_nsa.NsaSelectAttention(1, None, 4, 1)(rows, rows, rows, indices)[0].asnumpy().sum())
"""


@pytest.fixture(params=ISAS)
def isa(request):
    before = backend.current_isa()
    backend.select_isa(request.param)
    assert backend.current_isa() == request.param
    yield request.param
    backend.select_isa(before)


@pytest.mark.parametrize("draw", [random_select_case, random_paged_case])
def test_random_cases(isa, dtype, draw):
    for seed in range(12):
        case = draw(np.random.default_rng([44, seed]), dtype, poison=bool(seed % 2))
        run_cells.check(case)
        if draw is random_select_case:
            check_gradients(case, *run_cells.run_gradients(case))


@pytest.mark.parametrize("kind", ["select_tail_", "paged_tail_"])
def test_tails(isa, dtype, kind):
    for name in (name for name in NAMED_CASES if name.startswith(kind)):
        run_cells.check(NAMED_CASES[name](dtype))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED_CASES)
def test_named_cases(isa, dtype, name):
    run_cells.check(NAMED_CASES[name](dtype))


def test_isas_differ():
    """What select_isa switches does reach the kernels: vectors of another length round in another order."""
    before, found = backend.current_isa(), {}
    try:
        for isa in ISAS:
            backend.select_isa(isa)
            found[isa] = fingerprints.fingerprints()
    finally:
        backend.select_isa(before)
    for one, other in itertools.combinations(ISAS, 2):
        assert found[one] != found[other]


@pytest.mark.parametrize("isa", ISAS)
def test_environment_selects_the_isa(isa):
    chosen = fingerprints.in_a_fresh_process(MS_NSA_ISA=isa)
    assert chosen["isa"] == isa
    before = backend.current_isa()
    try:
        backend.select_isa(isa)
        assert fingerprints.fingerprints() == chosen["fingerprints"]
    finally:
        backend.select_isa(before)


@pytest.mark.parametrize("value", [None, ""])
def test_fastest_isa_is_the_default(value):
    done = run_python("-c", "from ms_nsa import backend; print(backend.current_isa())", MS_NSA_ISA=value)
    assert done.stdout.strip() == ISAS[-1], done.stderr


def unsupported():
    return [*sorted(set(kernel_runner.ISAS) - set(ISAS)), "sse9", "AVX2", "scalar "]


def sentence(isa):
    return f"ms_nsa: MS_NSA_ISA must be one of {', '.join(ISAS)} on this machine, got {isa}"


@pytest.mark.parametrize("isa", unsupported())
def test_select_isa_refuses(isa):
    before = backend.current_isa()
    with pytest.raises(RuntimeError) as raised:
        backend.select_isa(isa)
    assert str(raised.value) == sentence(isa)
    assert backend.current_isa() == before


def test_environment_with_an_isa_that_is_not_there():
    """The report and the first operator name it; importing still works."""
    isa = unsupported()[0]
    report = run_python("-m", "ms_nsa.backend", MS_NSA_ISA=isa)
    assert report.returncode != 0
    assert sentence(isa) in report.stderr
    run = run_python("-c", RUN_A_CELL, MS_NSA_ISA=isa)
    assert run.returncode != 0
    assert "RuntimeError" in run.stderr and sentence(isa) in run.stderr
    assert run_python("-c", RUN_A_CELL, MS_NSA_ISA="scalar").stdout.strip() == "12.0"
