# SPDX-License-Identifier: Apache-2.0
"""The vendor package, built by ascendc/build.sh with the stand-in of CANN's toolkit, and a machine that it fits."""

import shutil
import subprocess
from types import SimpleNamespace

import mindspore as ms
import pytest
from mindspore.ops.operations import _custom_ops_utils as readers
from mindspore.ops.operations import custom_ops

from ascendc import host
from ascendc.cann import toolkit
from ascendc.twin_primitive import TwinPrimitive
from ms_nsa.primitive import ascend, vendor


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """sources: ascendc in a copy of the tree; variables: CANN's, for build and use; vendor: what build.sh installed."""
    folder = tmp_path_factory.mktemp("package")
    sources = copy_sources(folder)
    variables = {**toolkit.environment(), **toolkit.install(folder / "cann")}
    made = SimpleNamespace(folder=folder, sources=sources, variables=variables)
    made.done = build(made, folder / "installed")
    made.vendor = folder / "installed" / "vendors" / "ms_nsa"
    return made


def copy_sources(folder):
    """The folder ascendc in a copy of what its build reads; its path."""
    for part in ("ascendc", "op_info", "ms_nsa/csrc"):
        shutil.copytree(host.ROOT / part, folder / part)
    for path in host.ROOT.glob("ms_nsa/op_*.py"):
        shutil.copy(path, folder / "ms_nsa")
    return folder / "ascendc"


def build(package, target, sources=None, **changes):
    """The finished process of build.sh; variables that are None are not set."""
    variables = {name: value for name, value in {**package.variables, **changes}.items() if value is not None}
    command = ["bash", str((sources or package.sources) / "build.sh"), str(target)]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def machine(monkeypatch, package, chip="ascend910b", target="Ascend", cann=None):
    """A machine with an NPU, for the look-ups that MindSpore and this package make."""
    context = SimpleNamespace(get_ascend_soc_version=lambda: chip)
    stub = SimpleNamespace(get_instance=lambda: context)
    monkeypatch.setattr(readers, "MSContext", stub)
    monkeypatch.setattr(vendor, "MSContext", stub)
    monkeypatch.setattr(vendor, "_FOLDER", package.vendor)
    asked = ms.get_context
    get_context = lambda name: target if name == "device_target" else asked(name)  # noqa: E731
    monkeypatch.setattr(ms, "get_context", get_context)
    monkeypatch.setattr(custom_ops.context, "get_context", get_context)
    monkeypatch.setenv("ASCEND_HOME_PATH", cann or package.variables["ASCEND_HOME_PATH"])
    monkeypatch.setenv("ASCEND_OPP_PATH", package.variables["ASCEND_OPP_PATH"])
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", "/some/other/package")
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(package.folder / "cache"))


@pytest.fixture
def npu(monkeypatch, package):
    machine(monkeypatch, package)


@pytest.fixture
def on_twin(monkeypatch, package):
    """Makes of this machine one on which Cells that are built with (or without) debugging run on the twin."""
    construct = ascend.ascend_primitive

    def primitive(operator, *arguments):
        return TwinPrimitive(operator, construct(operator, *arguments))

    def switch(debug):
        machine(monkeypatch, package)
        monkeypatch.setattr(ascend, "ascend_primitive", primitive)
        monkeypatch.setenv("MS_JIT", "0")  # a graph of one node runs as the Python that it is written in
        monkeypatch.setenv("MS_NSA_DEBUG", debug)

    return switch
