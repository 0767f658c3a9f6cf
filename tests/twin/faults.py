"""Kernels with one deliberate fault each: the source marks the rule and the line that must be reported."""

from __future__ import annotations

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
