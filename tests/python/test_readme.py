"""The READMEs say what op_info and the benchmark's results say, and name the same things in both languages."""

import re

import pytest

from support import readme_tables


@pytest.mark.parametrize("readme", readme_tables.READMES)
def test_tables_are_generated(readme):
    text = (readme_tables.ROOT / readme).read_text(encoding="utf-8")
    assert "<!-- op_info -->" in text and "<!-- speed -->" in text
    assert text == readme_tables.rendered(readme), "run `python -m support.readme_tables` in the folder tests"


def test_both_languages_hold_the_same_code_and_pictures():
    english, chinese = ((readme_tables.ROOT / name).read_text(encoding="utf-8") for name in readme_tables.READMES)
    for pattern in (r"```.*?```", r"!\[[^\]]*\]\(([^)]*)\)", r"^    pip install [^\n]*$"):
        found = [re.findall(pattern, text, flags=re.DOTALL | re.MULTILINE) for text in (english, chinese)]
        assert found[0] == found[1]
        assert found[0]


def test_the_example_runs():
    text = (readme_tables.ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1), names)
    assert names["out"].shape == (256, 16, 128)
    assert names["softmax_max"].shape == names["softmax_sum"].shape == (256, 16, 8)
