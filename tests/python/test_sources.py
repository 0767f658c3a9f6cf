# SPDX-License-Identifier: Apache-2.0
"""The library that Cells load, and the kernels that other tests link, are built from the sources of the tree."""

import os
import pathlib
import runpy
import shutil

import pytest

import ms_nsa
from support import kernel_runner

ROOT = pathlib.Path(__file__).parents[2]
DIGEST = runpy.run_path(str(ROOT / "ms_nsa" / "csrc" / "digest.py"))


def test_the_library_is_built_from_this_tree():
    built = pathlib.Path(ms_nsa.__file__).parent / "lib" / DIGEST["FILE"]
    found = built.read_text(encoding="utf-8").strip() if built.exists() else "none"
    again = "python setup.py build_py" if (ROOT / "ms_nsa") in built.parents else "pip install '.[test]'"
    assert found == DIGEST["of_tree"](ROOT), f"the library was built from other sources: run {again}"


@pytest.mark.parametrize("edited", ["ms_nsa/csrc/params.h", "op_info/NsaCompress.json"])
def test_any_edit_changes_the_digest(tmp_path, edited):
    for folder in ("ms_nsa/csrc", "op_info"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert DIGEST["of_tree"](tmp_path) == DIGEST["of_tree"](ROOT)
    path = tmp_path / edited
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert DIGEST["of_tree"](tmp_path) != DIGEST["of_tree"](ROOT)


@pytest.fixture
def product(tmp_path, monkeypatch):
    """A tree in which the archive of kernels is newer than its only source."""
    source, product = tmp_path / "ms_nsa" / "csrc" / "params.h", tmp_path / "build" / "cpu"
    archive, cache = product / "libms_nsa_kernels.a", product / "CMakeCache.txt"
    for number, path in enumerate((source, cache, archive)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("CMAKE_CXX_COMPILER:STRING=sh\n")
        os.utime(path, (number, number))
    monkeypatch.setattr(kernel_runner, "ROOT", tmp_path)
    monkeypatch.setattr(kernel_runner, "PRODUCT", product)
    return source, cache, archive


def test_tests_link_the_kernels_of_the_last_build(product):
    assert kernel_runner.product_settings() == [f"-DMS_NSA_KERNELS={product[2]}", "-DCMAKE_CXX_COMPILER=sh"]


@pytest.mark.parametrize("case", ["edited", "cross-compiled", "compiler gone", "not built"])
def test_tests_compile_kernels_that_the_last_build_does_not_have(product, case):
    source, cache, archive = product
    if case == "edited":
        os.utime(source, (9, 9))
    elif case == "cross-compiled":
        cache.write_text(cache.read_text() + "CMAKE_TOOLCHAIN_FILE:FILEPATH=/arm.cmake\n")
    elif case == "compiler gone":
        cache.write_text("CMAKE_CXX_COMPILER:STRING=/nowhere/c++\n")
    else:
        archive.unlink()
    assert kernel_runner.product_settings() == []
