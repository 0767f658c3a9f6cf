# SPDX-License-Identifier: Apache-2.0
"""Damaged installations, and those in places that MindSpore cannot name, end in one sentence."""

import pathlib
import re
import shutil
import subprocess

import pytest

import ms_nsa
from ms_nsa import native, registry

LIBRARY = native.library_path()
LOADER = pathlib.Path(__file__).resolve().parents[1] / "cpp" / "load_library.cpp"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """The library that the package finds: a copy in a folder whose name a test may choose."""

    def make(folder="site"):
        package = tmp_path / folder / "ms_nsa"
        (package / "lib").mkdir(parents=True)
        monkeypatch.setattr(native, "_PACKAGE", package)
        return shutil.copy(LIBRARY, package / "lib" / LIBRARY.name)

    return make


@pytest.mark.parametrize("kept", [0.99, 0.5, 0])
def test_a_truncated_library(installed, kept):
    """Loading it would be the end of the process."""
    library, size = installed(), int(LIBRARY.stat().st_size * kept)
    with library.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(RuntimeError) as raised:
        ms_nsa.NsaSelectAttention(1)
    pattern = rf"ms_nsa: {re.escape(str(library))} must have its \d+ bytes, got {size}; install the package again"
    assert re.fullmatch(pattern, str(raised.value))


def test_something_else_in_the_place_of_the_library(installed):
    library = installed()
    library.write_text("no library, but long enough for the header of one" * 4)
    with pytest.raises(RuntimeError, match=rf"^ms_nsa: {re.escape(str(library))} must be a library that this machine"):
        native.library.__wrapped__()


@pytest.mark.parametrize("content", [b"", b'{"inputs": [', b"\xff\xfe"], ids=["empty", "cut off", "no text"])
def test_broken_op_info(monkeypatch, tmp_path, content):
    path = tmp_path / "NsaSelectAttention.json"
    path.write_bytes(content)
    monkeypatch.setattr(registry, "_FOLDERS", (tmp_path,))
    with pytest.raises(RuntimeError, match=rf"^ms_nsa: {re.escape(str(path))} must be JSON as it was installed, got "):
        registry.load.__wrapped__("NsaSelectAttention")


def test_a_colon_in_the_path(installed):
    folder = installed("a:b").parents[2]
    rule = "hold no colon, at which MindSpore ends the name of a library"
    with pytest.raises(RuntimeError, match=f"^ms_nsa: the path of the installation must {rule}, got {folder}$"):
        ms_nsa.NsaSelectAttention(1)


def test_the_library_without_python(tmp_path):
    """As .ci/wheels tries that of another processor."""
    program = tmp_path / "load_library"
    subprocess.run(["g++", "-O1", LOADER, "-o", program, "-ldl"], check=True)
    done = subprocess.run([program, LIBRARY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\w+;[\w,]+;3;set;\d+$", done.stdout, flags=re.MULTILINE)
    assert "NsaSelectAttention: query must have rank 3 [T1, N1, D1], got shape [1, 1]\n" in done.stdout
