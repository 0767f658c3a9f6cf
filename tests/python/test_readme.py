# SPDX-License-Identifier: Apache-2.0
"""The READMEs say what op_info and the benchmark's results say, and name the same things in both languages."""

import importlib
import re

import mindspore as ms
import pytest

import ms_nsa
from support import matrix, readme_tables


@pytest.mark.parametrize("readme", readme_tables.READMES)
def test_tables_are_generated(readme):
    text = (readme_tables.ROOT / readme).read_text(encoding="utf-8")
    assert all(f"<!-- {part} -->" in text for part in ("op_info", "speed", "matrix"))
    assert text == readme_tables.rendered(readme), "run `python -m support.readme_tables` in the folder tests"


def test_outcomes_of_versions_by_compiler(monkeypatch, tmp_path):
    """What failed is named beside what passed; numbers of versions are not sorted as text."""
    rows = ["3.9,2.10.0,GCC 12,passed", "3.9,2.10.0,clang 14,failed", "3.9,2.9.0,GCC 12,passed"]
    rows.append("3.12,2.9.0,GCC 12,no MindSpore")
    (tmp_path / "matrix.csv").write_text("\n".join(["python,mindspore,compiler,outcome", *rows]))
    monkeypatch.setattr(matrix, "RESULTS", tmp_path / "matrix.csv")
    assert matrix.table().splitlines() == [
        "| Python | MindSpore 2.9.0 | MindSpore 2.10.0 |",
        "| --- | --- | --- |",
        "| 3.9 | GCC 12 | GCC 12, clang 14: failed |",
        "| 3.12 | – |  |",
    ]


def test_both_languages_hold_the_same_code_and_pictures():
    english, chinese = ((readme_tables.ROOT / name).read_text(encoding="utf-8") for name in readme_tables.READMES)
    for pattern in (r"```.*?```", r"!\[[^\]]*\]\(([^)]*)\)", r"^    pip install [^\n]*$"):
        found = [re.findall(pattern, text, flags=re.DOTALL | re.MULTILINE) for text in (english, chinese)]
        assert found[0] == found[1]
        assert found[0]


def test_the_example_runs():
    text = (readme_tables.ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0], names)
    assert names["out"].shape == (256, 16, 128)
    assert names["softmax_max"].shape == names["softmax_sum"].shape == (256, 16, 8)
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[1], names)
    for branch in ("compressed", "selected", "window"):
        assert names[branch].shape == (256, 16, 128)


def test_the_layer_runs(tmp_path, graph_mode, monkeypatch):
    """In Graph mode, from a file because its source is parsed, with dynamic shapes, and exported."""
    text = (readme_tables.ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "layer_of_readme.py").write_text(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[2])
    monkeypatch.syspath_prepend(tmp_path)
    layer = importlib.import_module("layer_of_readme")
    for lengths in ([5, 9], [4, 70, 80]):
        x = ms.ops.ones((lengths[-1], 256), ms.float32)
        inputs = x, ms.ops.zeros((lengths[-1], 2, 16), ms.int32), ms.Tensor(lengths, ms.int64)
        assert layer.net(*inputs).shape == layer.mixed(*inputs).shape == x.shape
    ms.export(layer.net, *inputs, file_name=str(tmp_path / "model"), file_format="MINDIR")
    assert (tmp_path / "model.mindir").is_file()


def test_the_whole_layer_runs():
    text = (readme_tables.ROOT / "README.md").read_text(encoding="utf-8")
    names = {"ms": ms, "ms_nsa": ms_nsa}
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[3], names)
    assert names["y"].shape == (1000, 256)
    difference = names["decoded"].asnumpy() - names["y"].asnumpy()[:300]
    assert abs(difference).max() < 1e-5
