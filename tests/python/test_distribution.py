# SPDX-License-Identifier: Apache-2.0
"""The sdist holds what a build, the tests and the samples need; a wheel built from it holds the package only."""

import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import setuptools

import ms_nsa
from children import run_python
from support import readme_tables

ROOT = readme_tables.ROOT
SOURCES = ("ascendc", "ms_nsa", "op_info", "samples", "tests")
FILES = (
    "API.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "README_CN.md",
    "SECURITY.md",
    "pyproject.toml",
    "setup.py",
)
GENERATED = {"__pycache__", "kernel_meta", "out", "lib", "vendors"}  # and ms_nsa/op_info
CMAKE = "#!/bin/sh\nmkdir -p build/cpu\necho compiled > build/cpu/libms_nsa_cpu.so\n"


def run_setup(folder, *arguments, **variables):
    command = [sys.executable, "setup.py", "-q", *arguments]
    environment = {**os.environ, **variables}
    environment.pop("ASCEND_HOME_PATH", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def source_files():
    """The tree's files by their names, without what builds and runs leave in it."""
    found = {name for name in FILES if (ROOT / name).is_file()}
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT)
            if path.suffix in (".pyc", ".so"):
                continue
            if path.is_file() and not GENERATED & set(name.parts) and name.parts[:2] != ("ms_nsa", "op_info"):
                found.add(str(name))
    return found


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The sdist of a copy of the tree in which an earlier build left files, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    for name in source_files():
        copy = folder / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    for stale in ("ms_nsa/lib/stale.txt", "ms_nsa/op_info/stale.json", "ms_nsa/vendors/ms_nsa/stale.txt"):
        (folder / "tree" / stale).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / stale).touch()
    run_setup(folder / "tree", "sdist", "--formats=gztar", "--dist-dir", str(folder))
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder)
    return next(path for path in folder.glob("ms_nsa-*") if path.is_dir())


def files_under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_sdist_holds_the_sources(unpacked):
    added = {name for name in files_under(unpacked) if re.match(r"PKG-INFO|setup\.cfg|ms_nsa\.egg-info/", name)}
    assert files_under(unpacked) - added == source_files()


def test_metadata(unpacked):
    text = (unpacked / "PKG-INFO").read_text(encoding="utf-8")
    fields = dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines())
    assert fields["Version"] == ms_nsa.__version__
    assert fields["License-Expression"] == "Apache-2.0" and fields["License-File"] == "LICENSE"
    assert set(fields["Requires-Python"].split(",")) == {">=3.9", "<3.13"}
    assert "Keywords" in fields and "Classifier" in fields
    assert "](" in text and not re.search(r"\]\((?!https?://)", text), "links that are dead outside of the repository"


def test_one_version():
    """It is written in the package; what cannot read it there says the same."""
    found = [re.search(rf"^version: {re.escape(ms_nsa.__version__)}$", read("CITATION.cff"), flags=re.MULTILINE)]
    found.append(re.search(rf"^## {re.escape(ms_nsa.__version__)}$", read("CHANGELOG.md"), flags=re.MULTILINE))
    found += [f"\nms_nsa          {ms_nsa.__version__}\n" in read(readme) for readme in readme_tables.READMES]
    assert all(found)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def names(monkeypatch):
    """What setup.py defines, without the set-up itself."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return runpy.run_path(str(ROOT / "setup.py"))


@pytest.mark.parametrize(
    ("tools", "sentence"),
    [
        ((), "cmake must be installed without build isolation, got none on PATH"),
        (("cmake",), "ninja must be installed without build isolation, got none on PATH"),
        (("cmake", "ninja"), "a C++17 compiler must be installed, got no c++ or g++ or clang++ on PATH"),
        (("cmake", "ninja", "clang++"), None),
    ],
    ids=["nothing", "no ninja", "no compiler", "all"],
)
def test_missing_tools_are_named(names, monkeypatch, tmp_path, tools, sentence):
    """When pip asks for metadata, which is before it downloads."""
    for tool in tools:
        (tmp_path / tool).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = names["Metadata"].__new__(names["Metadata"])
    monkeypatch.setattr(names["Metadata"].__base__, "run", lambda self: None)
    if sentence is None:
        return command.run()
    with pytest.raises(SystemExit, match=f"^ms_nsa: {re.escape(sentence)}$"):
        command.run()


@pytest.mark.parametrize(("number", "machine"), [(62, "x86_64"), (183, "aarch64"), (243, None)])
def test_the_tag_is_that_of_the_library(names, monkeypatch, tmp_path, number, machine):
    library = tmp_path / "lib" / "libms_nsa_cpu.so"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + number.to_bytes(2, "little"))
    wheel = names["PlatformWheel"]
    monkeypatch.setitem(wheel.get_tag.__globals__, "PACKAGE", tmp_path)
    monkeypatch.setattr(wheel.__base__, "get_tag", lambda self: ("cp311", "cp311", "linux_x86_64"))
    assert wheel.get_tag(wheel.__new__(wheel)) == ("py3", "none", f"linux_{machine or 'x86_64'}")


def test_sources_that_may_only_be_read_are_copied(names, monkeypatch, tmp_path):
    sources = tmp_path / "sources"
    (sources / "ms_nsa").mkdir(parents=True)
    (sources / "ms_nsa" / "module.py").write_text("1")
    assert names["writable"](sources) == sources
    (sources / "ms_nsa").chmod(0o555)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    monkeypatch.chdir(sources)
    copy = names["writable"](sources)
    assert copy != sources and pathlib.Path.cwd() == copy
    assert (copy / "ms_nsa" / "module.py").read_text() == "1" and (copy / "ms_nsa").stat().st_mode & 0o200
    shutil.rmtree(copy.parent)


def test_an_old_setuptools_is_named(tmp_path):
    (tmp_path / "setuptools.py").write_text("__version__ = '76.1.0'")
    command = [sys.executable, str(ROOT / "setup.py"), "--version"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    # The script's own folder comes before PYTHONPATH, and has no setuptools.
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    rule = "setuptools must be 77.0.3 or later without build isolation"
    assert done.stderr == f"ms_nsa: {rule}, got 76.1.0\n"


def test_a_wheel_of_the_sdist_holds_the_package_only(unpacked, tmp_path):
    """The compiler is a stand-in."""
    cmake = tmp_path / "cmake"
    cmake.write_text(CMAKE)
    cmake.chmod(0o755)
    run_setup(unpacked, "bdist_wheel", "--dist-dir", str(tmp_path), PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    wheel = next(tmp_path.glob("*.whl"))
    assert re.match(r"ms_nsa-[\d.]+-py3-none-linux_", wheel.name)
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "ms_nsa"
    paths = [*package.glob("*.py"), *(package / "primitive").glob("*.py")]
    modules = {str(path.relative_to(ROOT)) for path in paths}
    operators = {f"ms_nsa/op_info/{path.name}" for path in (ROOT / "op_info").iterdir()}
    assert names == {
        *modules,
        *operators,
        "ms_nsa/lib/libms_nsa_cpu.so",
        "ms_nsa/lib/sources.sha256",
        "ms_nsa/__init__.pyi",
        "ms_nsa/py.typed",
    }


@pytest.mark.parametrize("start", [("-c",), ("-m", "report_place")], ids=["command", "module"])
def test_children_import_what_the_tests_import(monkeypatch, tmp_path, start):
    """Not the tree, though the tests run in its folder."""
    script = "import ms_nsa; print(ms_nsa.__file__)"
    (tmp_path / "ms_nsa.py").touch()
    (tmp_path / "report_place.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(ROOT)
    done = run_python(*start, *[script] * (start[0] == "-c"))
    assert done.stdout.strip() == str(tmp_path / "ms_nsa.py"), done.stderr
