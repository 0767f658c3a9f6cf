# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run Cells."""

import pytest
from mindspore._c_expression import GraphExecutor_, JitExecutor_

from support import DTYPES
from support.kernel_runner import ARM_ISAS, processor_flags
from support.run_cells import MODES, run_mode


@pytest.hookimpl(tryfirst=True)  # before the mark is looked at
def pytest_collection_modifyitems(items):
    """On other processors kernels for Arm take minutes to compile and run under an emulator: in the long suite."""
    if processor_flags() is None:
        return
    for item in items:
        if hasattr(item, "callspec") and item.callspec.params.get("isa") in ARM_ISAS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture(params=DTYPES)
def dtype(request):
    return DTYPES[request.param]


@pytest.fixture(params=["bfloat16", *(pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "float32"))])
def dtype_in_graph_mode(request):
    """All dtypes, of which the fast suite has one: compiling a graph takes longer than the rest of a test."""
    return DTYPES[request.param]


@pytest.fixture(params=[*(("pynative", dtype) for dtype in DTYPES), ("graph", "bfloat16")], ids="-".join)
def setting(request):
    """Mode and dtype, for properties that a second dtype would not test any better in Graph mode."""
    mode, dtype = request.param
    return mode, DTYPES[dtype]


@pytest.fixture
def graph_mode():
    with run_mode("graph"):
        yield


@pytest.fixture
def compiled(monkeypatch):
    """A list that grows with every graph that MindSpore compiles."""
    graphs = []
    for executor in (GraphExecutor_, JitExecutor_):

        def count(self, source, *arguments, compile_graph=executor.compile):
            graphs.append(source)
            return compile_graph(self, source, *arguments)

        monkeypatch.setattr(executor, "compile", count)
    return graphs
