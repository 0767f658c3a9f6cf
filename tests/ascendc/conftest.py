"""The vendor package, built by ascendc/build.sh with the stand-in of CANN's toolkit."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from ascendc import host
from ascendc.cann import toolkit


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """sources: a copy of ascendc; variables: CANN's, for build and use; vendor: what build.sh installed."""
    folder = tmp_path_factory.mktemp("package")
    sources = folder / "ascendc"
    shutil.copytree(host.ASCENDC, sources)
    variables = {**toolkit.environment(), **toolkit.install(folder / "cann")}
    made = SimpleNamespace(folder=folder, sources=sources, variables=variables)
    made.done = build(made, folder / "installed")
    made.vendor = folder / "installed" / "vendors" / "ms_nsa"
    return made


def build(package, target, sources=None, **changes):
    """The finished process of build.sh; variables that are None are not set."""
    variables = {name: value for name, value in {**package.variables, **changes}.items() if value is not None}
    command = ["bash", str((sources or package.sources) / "build.sh"), str(target)]
    return subprocess.run(command, env=variables, capture_output=True, text=True)
