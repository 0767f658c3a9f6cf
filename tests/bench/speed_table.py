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
SENTENCES = {
    "README.md": (
        "Machine: {machine}; {threads} threads, {isa}; {versions}; {date}.",
        "Dense attention ({dense}) is faster below T = {all_rows} without a causal rule; with one, {causal}.",
        "selected attention is faster at every length measured (from T = {first} on)",
        "it is faster below T = {length}",
    ),
    "README_CN.md": (
        "机器：{machine}；{threads} 线程，{isa}；{versions}；{date}。",
        "不带因果规则时，稠密注意力（{dense}）在 T < {all_rows} 时更快；带因果规则时，{causal}。",
        "选择注意力在所有测得的长度上都更快（从 T = {first} 起）",
        "T < {length} 时稠密更快",
    ),
}


def _rows():
    files = sorted(RESULTS.glob("*.csv"))
    if not files:
        return []
    with files[0].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _time(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def _ratio(row):
    """The smallest of the ratios to PyTorch's ways that read a whole case."""
    found = [float(ratio) for ratio in re.findall(r"PyTorch[^,]*?(?:, first \d+ tokens)? ([\d.]+)x", row["peers"])]
    return f"{min(found):.1f}x" if found else ""


def _cells(row):
    bar = f"{float(row['bar']):.0%}" if row["bar"] else ""
    missed = " (missed)" if row["holds"] == "MISSES" else ""
    rate = f"{float(row['value']):.3g} {row['unit']}"
    share = f"{float(row['fraction']):.0%} of {row['peak']}"
    return [row["name"], _time(float(row["p50_s"])), rate, share, bar + missed, _ratio(row)]


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
    table = [HEADINGS[readme], ["---"] * len(HEADINGS[readme]), *map(_cells, cases)]
    lines = [machine.format(**cases[0]), "", *("| " + " | ".join(row) + " |" for row in table)]
    dense = [row for row in rows if row["operator"] == "dense"]
    if dense:
        causal, first = _break_even(rows, "local", "causal"), min(int(row["tokens"]) for row in dense)
        lines += [
            "",
            dense_line.format(
                dense=dense[0]["name"].rsplit(" T=", 1)[0],
                all_rows=_break_even(rows, "random", "all rows"),
                causal=below.format(length=causal) if causal else never.format(first=first),
            ),
        ]
    return "\n".join(lines)
