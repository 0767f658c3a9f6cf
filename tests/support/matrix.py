# SPDX-License-Identifier: Apache-2.0
"""The READMEs' table of versions that were tried together, from what .ci/matrix left in matrix.csv.

Run as a script it writes the table, in any Python.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = pathlib.Path(__file__).with_name("matrix.csv")
SENTENCES = {
    "README.md": "`.ci/matrix` runs the quickstart and a part of the tests on every pair. Cells name the compilers of "
    "the wheels that passed; –: there is no such MindSpore.",
    "README_CN.md": "`.ci/matrix` 在每种组合上运行快速入门与部分测试。格中为通过的安装包所用的编译器；"
    "–：没有这样的 MindSpore。",
}


def outcomes():
    """Outcome by compiler, by pair of Python and MindSpore."""
    found = {}
    for line in RESULTS.read_text(encoding="utf-8").splitlines()[1:]:
        python, mindspore, compiler, outcome = line.split(",")
        found.setdefault((python, mindspore), {})[compiler] = outcome
    return found


def cell(pair):
    """The compilers whose libraries passed, and what came of the others; nothing if the pair was not tried."""
    if set(pair.values()) == {"no MindSpore"}:
        return "–"
    said = [name if outcome == "passed" else f"{name}: {outcome}" for name, outcome in pair.items()]
    return ", ".join(said)


def table():
    """As Markdown."""
    found = outcomes()
    rows, columns = (sorted({pair[i] for pair in found}, key=_number) for i in (0, 1))
    lines = [["Python", *(f"MindSpore {name}" for name in columns)], ["---"] * (1 + len(columns))]
    lines += [[row, *(cell(found.get((row, column), {})) for column in columns)] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(version):
    return [int(part) for part in re.findall(r"\d+", version)]


def inserted(readme, text):
    """`text` of `readme` with the table brought up to date."""
    block = f"<!-- matrix -->\n{SENTENCES[readme]}\n\n{table()}\n<!-- /matrix -->"
    return re.sub(r"<!-- matrix -->.*?<!-- /matrix -->", lambda _: block, text, flags=re.DOTALL)


if __name__ == "__main__":
    for readme in SENTENCES:
        path = ROOT / readme
        path.write_text(inserted(readme, path.read_text(encoding="utf-8")), encoding="utf-8")
