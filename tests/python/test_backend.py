# SPDX-License-Identifier: Apache-2.0
"""The environment report, what importing does, and the examples in the docstrings."""

import doctest
import importlib
import inspect

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ms_nsa import backend
from support.fingerprints import run_python

IMPORTS = """
import sys, mindspore
before = set(sys.modules)
import ms_nsa
from ms_nsa import backend
print(backend.library.cache_info().currsize, sorted(name for name in set(sys.modules) - before))
"""
LAYER = ["cache", "layer", "layer_infer", "layer_reference", "nsa_attention"]
MODULES = ["selected_attention", "paged_attention", "reference", "threads", *LAYER]


@pytest.mark.parametrize("module", ["ms_nsa", "ms_nsa.backend"])
def test_report(module):
    done = run_python("-W", "error::RuntimeWarning", "-m", module, OMP_NUM_THREADS="3")
    assert done.returncode == 0 and "RuntimeWarning" not in done.stderr, done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if "  " in line)
    assert rows["ms_nsa"] == ms_nsa.__version__
    assert rows["threads"] == "3 (OMP_NUM_THREADS)"
    assert rows["isa"].startswith(backend.supported_isas()[-1])
    assert "mindspore" in rows and "numpy" in rows


def test_import_adds_only_the_package():
    loaded, modules = run_python("-c", IMPORTS).stdout.splitlines()[-1].split(" ", 1)
    assert loaded == "0", "importing must not load the library"
    for name in eval(modules):
        assert name.split(".")[0] in ("ms_nsa", "ctypes", "_ctypes", "_struct"), name


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module, monkeypatch):
    monkeypatch.setenv("MS_NSA_NUM_THREADS", "")  # which an example sets
    result = doctest.testmod(importlib.import_module(f"ms_nsa.{module}"), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted > 0
    backend.library().MsNsaSetThreads(0)


@pytest.mark.parametrize("name", ms_nsa.__all__)
def test_public_docstrings_are_complete(name):
    text = inspect.getdoc(getattr(ms_nsa, name))
    for section in ("Args:", "Raises:", "Supported Platforms:", "Examples:"):
        assert section in text, section
    value = getattr(ms_nsa, name)
    if inspect.isclass(value) and "construct" not in vars(value):  # NsaCache is no call
        return
    is_cell = inspect.isclass(value)
    assert all(section in text for section in (("Inputs:", "Outputs:") if is_cell else ("Returns:",)))


@pytest.mark.parametrize("tokens", [400, 4096], ids=["joined", "slept through"])
@pytest.mark.parametrize("last_index", [1, 2], ids=["good", "out of range"])
def test_calls_have_ended_when_they_return(tokens, last_index):
    """MindSpore's busy loops would take a core from the kernel; a kernel that fails ends the wait, too."""
    query, key = ms.ops.zeros((tokens, 1, 16), ms.float32), ms.ops.zeros((32, 1, 16), ms.float32)
    topk_indices = np.tile(np.int32([0, 1]), (tokens, 1, 1))
    topk_indices[-1, 0, 1] = last_index
    cell = ms_nsa.NsaSelectAttention(1, select_block_size=16, select_block_count=2)
    ended = backend.library().MsNsaEndedRuns()
    outputs = cell(query, key, key, ms.Tensor(topk_indices))
    assert backend.library().MsNsaEndedRuns() == ended + 1
    if last_index == 1:
        assert not outputs[0].asnumpy().any()
    else:
        with pytest.raises(RuntimeError, match="topk_indices"):
            outputs[0].asnumpy()
