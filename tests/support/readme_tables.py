# SPDX-License-Identifier: Apache-2.0
"""Writes what op_info and the benchmark's results say into the READMEs.

``python -m support.readme_tables`` in the folder tests.
"""

import pathlib
import re

import ms_nsa
from bench import layer_results, speed_table
from ms_nsa.registry import load
from support import matrix

ROOT = pathlib.Path(__file__).resolve().parents[2]
READMES = ("README.md", "README_CN.md")
OPERATORS = sorted(path.stem for path in (ROOT / "op_info").glob("*.json") if hasattr(ms_nsa, path.stem))
LIMITS = {"cpu": "CPU", "ascend_kernels": "Ascend", "ascend": '`limits="ascend"`'}
DEVICES = {"cpu": "cpu", "ascend_kernels": "ascend", "ascend": "ascend"}
RELATIONS = {"max": "≤ {}", "in": "{}", "multiple": "multiple of {}"}
HEADINGS = {
    "README.md": ("operator", "dtypes and limits, {}"),
    "README_CN.md": ("算子", "数据类型与限制：{}"),
}


def table(readme):
    """The support matrix as Markdown, headed in the language of `readme`."""
    operator, heading = HEADINGS[readme]
    rows = [[operator, *(heading.format(name) for name in LIMITS.values())], ["---"] * (1 + len(LIMITS))]
    for name in OPERATORS:
        info = load(name)
        rows.append([f"`{name}`", *(_cell(info, limits) for limits in LIMITS)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(info, limits):
    if limits not in info["limits"]:
        return "–"  # no kernel there
    dtypes = ", ".join(info["dtypes"][DEVICES[limits]])
    return "; ".join([dtypes, *(_rule(rule) for rule in info["limits"][limits])])


def _rule(rule):
    name, relation, *operands = rule.split()
    return f"{name} {RELATIONS[relation].format(' or '.join(operands))}"


def rendered(readme):
    """Text of `readme` with its generated parts brought up to date."""
    text = matrix.inserted(readme, (ROOT / readme).read_text(encoding="utf-8"))
    block = f"<!-- op_info -->\n{table(readme)}\n<!-- /op_info -->"
    text = re.sub(r"<!-- op_info -->.*?<!-- /op_info -->", lambda _: block, text, flags=re.DOTALL)
    speed = f"<!-- speed -->\n{speed_table.text(readme)}\n<!-- /speed -->"
    text = re.sub(r"<!-- speed -->.*?<!-- /speed -->", lambda _: speed, text, flags=re.DOTALL)
    whole = f"<!-- layer -->\n{layer_results.saved(readme)}\n<!-- /layer -->"
    text = re.sub(r"<!-- layer -->.*?<!-- /layer -->", lambda _: whole, text, flags=re.DOTALL)
    family = f"<!-- family -->\n{speed_table.family_text(readme)}\n<!-- /family -->"
    return re.sub(r"<!-- family -->.*?<!-- /family -->", lambda _: family, text, flags=re.DOTALL)


if __name__ == "__main__":
    for readme in READMES:
        (ROOT / readme).write_text(rendered(readme), encoding="utf-8")
