# SPDX-License-Identifier: Apache-2.0
"""The pages for users and contributors name what is there, and nothing that is missing there."""

import re

import pytest

import ms_nsa
from support.readme_tables import ROOT

SOURCES = [path for folder in ("ms_nsa", "ascendc", "tests") for path in (ROOT / folder).rglob("*") if path.is_file()]
NAMES = r"(?:MS_NSA|TWIN|KERNEL_RUNNER|ASCEND)_\w+|OMP_NUM_THREADS|CXX"
READS = rf"(?:getenv\(|environ(?:\.get)?[\[(]|\$\{{|_[A-Z]+ = )\"?({NAMES})\b"
PAGES = ["README.md", "README_CN.md", "API.md", "CHANGELOG.md", "SECURITY.md", "samples/04_on_ascend.md"]
PAGES += ["ascendc/README.md", "tests/bench/README.md", "tests/twin/README.md"]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def variables_read():
    found = set()
    for path in [*SOURCES, ROOT / "setup.py"]:
        if path.suffix in (".py", ".cpp", ".h", ".sh") and "include" not in path.parts:
            found |= set(re.findall(READS, path.read_text(encoding="utf-8")))
    return found


def test_every_variable_is_described():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text("API.md").split("## Environment variables")[1], re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    missing = variables_read() - described - {"ASCEND_OPP_PATH", "ASCEND_CANN_PACKAGE_PATH"}  # CANN's own
    assert not missing
    assert {"MS_NSA_ISA", "MS_NSA_NUM_THREADS", "MS_NSA_DEBUG"} <= variables_read()


def test_every_public_name_is_listed():
    assert all(f"`{name}`" in text("API.md") or f"`ms_nsa.{name}`" in text("API.md") for name in ms_nsa.__all__)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page)):
        assert "://" in target or ((ROOT / page).parent / target).exists(), target


def test_every_source_file_names_its_licence():
    endings = (".py", ".pyi", ".h", ".cpp", ".sh", ".cmake", "CMakeLists.txt", ".map")
    for path in [*SOURCES, *(ROOT / "samples").glob("*.py"), ROOT / "setup.py"]:
        if path.name.endswith(endings) and "vendors" not in path.parts:
            head = path.read_text(encoding="utf-8").splitlines()[:3]
            assert any("SPDX-License-Identifier: Apache-2.0" in line for line in head), path
