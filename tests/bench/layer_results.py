# SPDX-License-Identifier: Apache-2.0
"""Figures of `python -m bench layer`: their CSV, picture, and the tables of the READMEs."""

import csv
import datetime
import math
import pathlib
from typing import NamedTuple

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
COLUMNS = (
    *("kind", "scope", "length", "sparse_s", "dense_s", "dense_by", "flop_ratio", "realised"),
    *("sparse_mb", "dense_mb"),
)
MACHINE = "machine", "threads", "isa", "versions", "date"
KINDS = "forward", "gradient", "decode", "decode_float32"


class Row(NamedTuple):
    """One line of the table: seconds of both. Of a check, by one group of heads and by all; of a step, of both."""

    kind: str
    scope: str
    length: int
    sparse: float
    dense: float
    dense_by: str
    flop_ratio: float = math.nan
    sparse_mb: float = math.nan
    dense_mb: float = math.nan

    @property
    def realised(self):
        return self.dense / self.sparse / self.flop_ratio

    def values(self):
        numbers = [f"{value:.4g}" for value in (self.sparse, self.dense)]
        rest = [f"{value:.4g}" for value in (self.flop_ratio, self.realised, self.sparse_mb, self.dense_mb)]
        return [self.kind, self.scope, self.length, *numbers, self.dense_by, *rest]


def of(rows, kind, scope):
    """The rows of a kind and scope by length."""
    return {row.length: row for row in rows if (row.kind, row.scope) == (kind, scope)}


def break_even(rows, kind, scope):
    """The shortest measured length from which on the sparse one is faster; None if there is none."""
    found = of(rows, kind, scope).values()
    slower = [row.length for row in found if row.sparse > row.dense]
    faster = [row.length for row in found if row.length > max(slower, default=0)]
    return min(faster, default=None)


def write(rows, folder):
    """The CSV and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "layer.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*COLUMNS, *MACHINE])
        table.writerows([*row.values(), *_environment()] for row in rows)
    draw(rows, folder / "layer.png")


def _environment():
    from bench import machine
    from ms_nsa import backend

    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    return machine.cpu_model(), backend.threads(), backend.current_isa(), versions, date


def read(path):
    """The rows of a CSV, and a dict of what they were measured on; empty without the file."""
    if not path.exists():
        return [], {}
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    numbers = "flop_ratio", "sparse_mb", "dense_mb"
    rows = [
        Row(
            line["kind"], line["scope"], int(line["length"]), float(line["sparse_s"]), float(line["dense_s"]),
            line["dense_by"], *(float(line[name]) for name in numbers),
        )
        for line in lines
    ]  # fmt: skip
    return rows, {name: lines[0][name] for name in MACHINE if name in lines[0]}


def draw(rows, path):
    """Time of the layer by length, and its memory."""
    from matplotlib.figure import Figure

    panels = []
    for kind, title in zip(KINDS[:3], ("forward", "with gradient", "decode")):
        found = of(rows, kind, "layer").values()
        panels.append((f"layer, {title}", "seconds", [(row.length, row.sparse, row.dense) for row in found]))
    found = [row for row in of(rows, "gradient", "layer").values() if row.sparse_mb > 0]
    panels.append(("layer, memory of a gradient", "MB", [(row.length, row.sparse_mb, row.dense_mb) for row in found]))
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return
    figure = Figure(figsize=(3.6 * len(panels), 4), layout="tight")
    for axes, (title, unit, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for at, name in enumerate(("sparse", "dense"), 1):
            axes.plot([point[0] for point in points], [point[at] for point in points], "o-", label=name)
        axes.set(xlabel="tokens", ylabel=unit, title=title, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


WORDS = {
    "README.md": {
        "tokens": "tokens", "layer": "layer", "attention": "attention alone", "joint": ", ",
        "forward": "forward", "gradient": "with gradient", "decode": "decode",
        "decode_float32": "decode, parameters in float32", "memory": "memory",
        "machine": "Machine: {machine}; {threads} threads, {isa}; {versions}; {date}.",
        "faster": "Sparse is faster than dense: {all}.", "from": "{name} from {length} tokens on",
        "never": "{name} at no length measured", "between": "; ",
        "check": "Beyond {length} tokens dense attention was measured on one key head and its query heads, times the "
        "number of key heads; at {length} tokens this gives {all} of the time of all heads.",
        "of": "{ratio:.2f} ({name})",
        "step": "What a step of decoding costs above its kernels, measured on a layer whose kernels have next to "
        "nothing to do: {all}.",
        "one step": "{us:.0f} us in {mode} mode (the dense twin {dense:.0f} us)",
    },
    "README_CN.md": {
        "tokens": "token 数", "layer": "整层", "attention": "仅注意力", "joint": "，",
        "forward": "前向", "gradient": "含梯度", "decode": "解码",
        "decode_float32": "解码，参数为 float32", "memory": "内存",
        "machine": "机器：{machine}；{threads} 线程，{isa}；{versions}；{date}。",
        "faster": "稀疏快于稠密的长度：{all}。", "from": "{name}从 {length} 个 token 起",
        "never": "{name}在所有测得的长度上都不快于稠密", "between": "；",
        "check": "超过 {length} 个 token 时，稠密注意力只测一个 key 头及其 query 头，再乘以 key 头数；"
        "在 {length} 个 token 时，这样得到的时间是测全部头的 {all}。",
        "of": "{ratio:.2f} 倍（{name}）",
        "step": "解码一步在内核之外的开销（在内核几乎无事可做的层上测得）：{all}。",
        "one step": "{mode} 模式 {us:.0f} us（稠密层 {dense:.0f} us）",
    },
}  # fmt: skip


def markdown(rows, readme="README.md", environment=None):
    """The tables of the README, and what else the rows say."""
    words = WORDS[readme]
    parts = [words["machine"].format(**environment)] if environment and len(environment) == len(MACHINE) else []
    shown = [(kind, scope) for scope in ("layer", "attention") for kind in KINDS[:2]]
    parts.append(_table(rows, words, [(words[scope] + words["joint"] + words[kind], of(rows, kind, scope), _compared)
                                      for kind, scope in shown]))  # fmt: skip
    second = [(words[kind], of(rows, kind, "layer"), _compared) for kind in KINDS[2:]]
    for kind in KINDS[:2]:
        with_memory = {length: row for length, row in of(rows, kind, "layer").items() if row.sparse_mb > 0}
        second.append((words["memory"] + words["joint"] + words[kind], with_memory, _memory))
    parts.append(_table(rows, words, second))
    return "\n\n".join(filter(None, [*parts, _break_evens(rows, words), _checks(rows, words), _steps(rows, words)]))


def _table(rows, words, columns):
    """By length; a column is a heading, rows by length, and how a row is written."""
    columns = [column for column in columns if column[1]]
    lengths = sorted({length for _, found, _ in columns for length in found})
    if not lengths:
        return ""
    lines = [[words["tokens"], *(heading for heading, _, _ in columns)], ["---"] * (1 + len(columns))]
    for length in lengths:
        lines.append([str(length), *(text(found[length]) if length in found else "" for _, found, text in columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _compared(row):
    sparse, dense = (
        f"{1000 * value:.0f}" if value >= 1 else f"{1000 * value:.3g}" for value in (row.sparse, row.dense)
    )
    return f"{sparse} / {dense} ms, {row.realised:.0%}"


def _memory(row):
    return f"{row.sparse_mb:.0f} / {row.dense_mb:.0f} MB"


def _break_evens(rows, words):
    found = []
    for scope in ("layer", "attention"):
        for kind in KINDS:
            if of(rows, kind, scope):
                length = break_even(rows, kind, scope)
                name = words[scope] + words["joint"] + words[kind]
                found.append(words["from" if length else "never"].format(name=name, length=length))
    return words["faster"].format(all=words["between"].join(found)) if found else ""


def _checks(rows, words):
    checks = [row for row in rows if row.scope == "check"]
    if not checks:
        return ""
    found = [words["of"].format(ratio=row.sparse / row.dense, name=words[row.kind]) for row in checks]
    return words["check"].format(length=checks[0].length, all=words["joint"].join(found))


def _steps(rows, words):
    steps = [row for row in rows if row.kind == "step"]
    found = [words["one step"].format(mode=row.scope, us=1e6 * row.sparse, dense=1e6 * row.dense) for row in steps]
    return words["step"].format(all=words["between"].join(found)) if found else ""


def saved(readme):
    """What the results in the repository say; empty without."""
    rows, environment = read(RESULTS / "layer.csv")
    return markdown(rows, readme, environment) if rows else ""
