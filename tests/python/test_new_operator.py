# SPDX-License-Identifier: Apache-2.0
"""The recipe of CONTRIBUTING.md: a toy operator with a gradient, from a folder outside the package, in a copy of it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from toy_operator.edits import EDITS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "toy_operator"
MOST_FILES = 12  # that adding an operator may touch besides kernels, tests and documentation
SENTENCES = [
    "ToyScale: x must have rank 3 [T, N, D], got shape [2, 7]",
    "ToyScale: D of x must be at least 1, got 0",
] * 2


def copy_with_toy(tree):
    """A copy of the package's sources with the operator added; the files that this touched."""
    for folder in ("ms_nsa", "op_info", "ascendc", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("lib", "vendors", "__pycache__"))
    touched = {path.relative_to(TOY / "new") for path in (TOY / "new").rglob("*.*") if path.is_file()}
    shutil.copytree(TOY / "new", tree, dirs_exist_ok=True)
    for name, before, added in EDITS:
        path = tree / name
        text = path.read_text()
        assert text.count(before) == 1, (name, before)
        path.write_text(text.replace(before, added + before))
        touched.add(pathlib.Path(name))
    return touched


def build(tree):
    """The library without optimisation, and without the instruction sets that add nothing here."""
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DPython3_EXECUTABLE={sys.executable}"]
    options += ["-DHAVE_AVX512=OFF", "-DHAVE_AVX512BF16=OFF"]
    configure = ["cmake", "-S", tree / "ms_nsa" / "csrc", "-B", tree / "build", "-G", "Ninja", *options]
    for command in (configure, ["cmake", "--build", tree / "build"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    (tree / "ms_nsa" / "lib").mkdir()
    shutil.copy(tree / "build" / "libms_nsa_cpu.so", tree / "ms_nsa" / "lib")


@pytest.mark.slow
def test_a_new_operator_touches_few_files_and_runs(tmp_path):
    touched = copy_with_toy(tmp_path)
    glue = sorted(str(path) for path in touched if path.name != "toy_scale.h" and "op_kernel" not in path.parts)
    assert len(glue) <= MOST_FILES, glue
    build(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MS_NSA_ISA": "scalar"}
    command = [sys.executable, str(TOY / "use.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ToyScale")]
    assert lines[:4] == SENTENCES
    assert lines[4:] == ["ToyScale: D must be at most 4 within the limits asked for, got 7"]
    runs_on_the_twin(tmp_path, environment)


def runs_on_the_twin(tree, environment):
    """Registration by the derived op_host, and what its rules and the kernels' limits refuse there."""
    search = os.pathsep.join([str(tree), str(tree / "tests")])
    environment = {**environment, "PYTHONPATH": search, "TWIN_BUILD": str(ROOT / "build" / "twin")}
    command = [sys.executable, str(TOY / "use_on_twin.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tree)
    assert done.returncode == 0, done.stderr
    for operator, given in (("ToyScale", "x"), ("ToyScaleGrad", "grad")):
        assert f"MsNsa{operator}: {given} must have rank 3 [T, N, D], got shape [2, 7]" in done.stderr
        assert f"MsNsa{operator}: D must be at most 4096, got 4097" in done.stderr


def test_the_places_of_the_recipe_are_there():
    for name, before, _ in EDITS:
        assert (ROOT / name).read_text().count(before) == 1, (name, before)
