# SPDX-License-Identifier: Apache-2.0
"""The READMEs' speed section, made from the CSV that the benchmark leaves in tests/bench/results."""

import csv
import pathlib
import re

from bench.work import break_even

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
HEADINGS = {
    "README.md": ("case", "time", "rate", "of its peak", "bar", "the best PyTorch way"),
    "README_CN.md": ("用例", "时间", "速率", "占峰值", "目标", "相对 PyTorch 最快写法"),
}
LIMITS = {
    "README.md": ("limit", "measured", "bar", "at most", "at least"),
    "README_CN.md": ("其他指标", "测得", "目标", "不超过", "不低于"),
}
MISSED = {"README.md": " (missed)", "README_CN.md": "（未达到）"}
SENTENCES = {
    "README.md": (
        "Machine: {machine}; {threads} threads, {isa}; {versions}; {date}.",
        "Dense attention ({dense}), without a causal rule: {all_rows}; with one: {causal}.",
        "selected attention is faster at every length measured (from T = {first} on)",
        "it is faster below T = {length}",
    ),
    "README_CN.md": (
        "机器：{machine}；{threads} 线程，{isa}；{versions}；{date}。",
        "稠密注意力（{dense}），不带因果规则时：{all_rows}；带因果规则时：{causal}。",
        "选择注意力在所有测得的长度上都更快（从 T = {first} 起）",
        "T < {length} 时稠密更快",
    ),
}


def _rows(pattern="*-threads.csv"):
    files = sorted(RESULTS.glob(pattern))
    if not files:
        return []
    with files[0].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _time(seconds):
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def _ratio(row):
    """The smallest of the ratios to PyTorch's ways, whose names may hold commas."""
    ways = [way for way in re.split(r"(?<=\dx), ", row["peers"]) if way.startswith("PyTorch")]
    found = [float(way.rsplit(" ", 1)[1][:-1]) for way in ways]
    return f"{min(found):.1f}x" if found else ""


def _bar(row, bar, readme):
    return bar + (MISSED[readme] if row["holds"] == "MISSES" else "")


def _cells(row, readme):
    value = float(row["value"])
    rate = f"{value:.0f} {row['unit']}" if value >= 1000 else f"{value:.3g} {row['unit']}"
    share = f"{float(row['fraction']):.0%} of {row['peak']}"
    bar = row["bar"] and _bar(row, f"{float(row['bar']):.0%}", readme)
    return [row["name"], _time(float(row["p50_s"])), rate, share, bar]


def _limit_cells(row, bound, readme):
    measured, bar = (row[name] and f"{float(row[name]):.3g} {row['unit']}".rstrip() for name in ("value", "bar"))
    return [row["name"], measured, bar and _bar(row, f"{bound} {bar}", readme)]


def _table(heading, rows):
    return ["| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *rows)]


def _break_even(rows, selection, dense):
    ours = {int(row["tokens"]): float(row["p50_s"]) for row in rows if _in_series(row, selection)}
    theirs = [row for row in rows if row["operator"] == "dense" and row["selection"] == dense]
    length = break_even(ours, {int(row["tokens"]): float(row["p50_s"]) for row in theirs})
    return length and round(length)


def _in_series(row, selection):
    name = rf"forward G=4 T=\d+ {selection}"
    return row["selection"] == selection and re.fullmatch(name, row["name"]) and row["p50_s"]


def text(readme):
    """Machine line, table and break-even lengths in the language of `readme`; empty without results."""
    rows = _rows()
    if not rows:
        return ""
    machine, dense_line, never, below = SENTENCES[readme]
    cases = [row for row in rows if row["fraction"] and row["bar"]]
    limits = [row for row in rows if row["bar"] and not row["fraction"]]
    lines = [machine.format(**cases[0]), ""]
    lines += [*_table(HEADINGS[readme], [[*_cells(row, readme), _ratio(row)] for row in cases]), ""]
    at_most, at_least = LIMITS[readme][3:]
    limit_rows = [_limit_cells(row, at_least if row["unit"] == "x" else at_most, readme) for row in limits]
    lines += _table(LIMITS[readme][:3], limit_rows)
    dense = [row for row in rows if row["operator"] == "dense"]
    if dense:
        first = min(int(row["tokens"]) for row in dense)
        sentences = []
        for selection, rows_of_dense in (("random", "all rows"), ("local", "causal")):
            length = _break_even(rows, selection, rows_of_dense)
            sentences.append(below.format(length=length) if length else never.format(first=first))
        name = dense[0]["name"].rsplit(" T=", 1)[0]
        lines += ["", dense_line.format(dense=name, all_rows=sentences[0], causal=sentences[1])]
    return "\n".join(lines)


def family_text(readme):
    """Machine line and table of the other operators in the language of `readme`; empty without results."""
    rows = _rows("family.csv")
    if not rows:
        return ""
    measured, limits = ([row for row in rows if bool(row["fraction"]) == share] for share in (True, False))
    at_most = LIMITS[readme][3]
    lines = [SENTENCES[readme][0].format(**rows[0]), ""]
    lines += [*_table(HEADINGS[readme][:5], [_cells(row, readme) for row in measured]), ""]
    lines += _table(LIMITS[readme][:3], [_limit_cells(row, at_most, readme) for row in limits])
    return "\n".join(lines)
