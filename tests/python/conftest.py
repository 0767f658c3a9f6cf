"""Fixtures of the tests that run Cells."""

import pytest

from support import DTYPES
from support.run_cells import MODES


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture(params=DTYPES)
def dtype(request):
    return DTYPES[request.param]


@pytest.fixture(params=[*(("pynative", dtype) for dtype in DTYPES), ("graph", "bfloat16")], ids="-".join)
def setting(request):
    """Mode and dtype, for properties that a second dtype would not test any better in Graph mode."""
    mode, dtype = request.param
    return mode, DTYPES[dtype]
