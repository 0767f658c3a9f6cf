# SPDX-License-Identifier: Apache-2.0
"""Kernels with one deliberate fault each: the source marks the rule and the line that must be reported."""

from __future__ import annotations

import collections
import pathlib
import re

KERNELS = pathlib.Path(__file__).resolve().parent / "kernels"


def marked(source: pathlib.Path) -> dict[int, list[tuple[str, int]]]:
    """fault number -> [(rule, line)] from the `fault N: rule` marks of a source."""
    found: dict[int, list[tuple[str, int]]] = {}
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if line.startswith("//"):
            continue
        for fault, rule in re.findall(r"fault (\d+): (\w+)", line):
            found.setdefault(int(fault), []).append((rule, number))
    return found


def cases(stem: str) -> list[int]:
    """All fault numbers of kernels/<stem>.cpp, with 0 for the correct kernel."""
    return [0, *sorted(marked(KERNELS / f"{stem}.cpp"))]


def check(stem: str, fault: int, reports: list) -> None:
    """Every marked (rule, line) is reported, the first report is a marked one, fault 0 is silent.

    Further reports may follow: one missing flag also leaves the next iteration unordered.
    """
    expected = set(marked(KERNELS / f"{stem}.cpp").get(fault, []))
    got = [(r.rule, r.line) for r in reports]
    text = "\n".join(map(str, reports)) or "nothing"
    assert expected <= set(got), f"fault {fault}: {expected - set(got)} missing; reported:\n{text}"
    assert not got or got[0] in expected, f"fault {fault}: {got[0]} came first; reported:\n{text}"


def rules() -> list[str]:
    """The names of all rules, read from the machine's table."""
    table = (KERNELS.parent / "src" / "report.cpp").read_text()
    return re.findall(r'"(\w+)"', table[table.index("names[] = {") : table.index("};")])


def tally() -> str:
    """Markdown table: how many mutants show each rule, and in which sources."""
    count: collections.Counter[str] = collections.Counter()
    sources: dict[str, set[str]] = collections.defaultdict(set)
    mutants = 0
    for source in sorted(KERNELS.glob("faults_*.cpp")):
        found = marked(source)
        mutants += len(found)
        for marks in found.values():
            for rule in {rule for rule, _ in marks}:
                count[rule] += 1
                sources[rule].add(source.stem[len("faults_") :])
    rows = [f"| `{rule}` | {count[rule]} | {', '.join(sorted(sources[rule]))} |" for rule in rules()]
    head = ["| rule | mutants | in `kernels/faults_*.cpp` |", "|---|---:|---|"]
    return "\n".join([*head, *rows, f"| all | {mutants} | |"])


if __name__ == "__main__":
    print(tally())
