# SPDX-License-Identifier: Apache-2.0
"""The library that Cells load is built from the sources that other tests compile."""

import pathlib
import runpy
import shutil

import pytest

import ms_nsa

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
