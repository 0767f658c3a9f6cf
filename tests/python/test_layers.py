# SPDX-License-Identifier: Apache-2.0
"""Layers point down: no include or import from a lower room to a higher one, and no cycles."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
CSRC, PACKAGE = ROOT / "ms_nsa" / "csrc", ROOT / "ms_nsa"

# Rooms of csrc from the lowest up; files of no room are named. A file may include what is as low as itself.
ROOMS = (
    ("params.h", "runtime/"),
    ("kernel_table.h",),
    ("simd/",),
    ("kernels/",),
    ("isa/",),
    ("dispatch.",),
    ("call/", "op_info.h"),
    ("api/", "exports.inc"),
)


def room(name):
    found = [rank for rank, prefixes in enumerate(ROOMS) if any(name.startswith(prefix) for prefix in prefixes)]
    assert len(found) == 1, name
    return found[0]


def includes():
    for path in sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cpp")]):
        for included in re.findall(r'^#include "(.+)"', path.read_text(), flags=re.MULTILINE):
            target = (path.parent / included).resolve()
            if not target.is_file():
                target = CSRC / included  # generated files lie in csrc as the compiler sees it
            yield path.relative_to(CSRC).as_posix(), target.relative_to(CSRC).as_posix()


def imports():
    """Those that a module needs to be imported itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ms_nsa"):
                for name in node.names:
                    inner = PACKAGE.parent.joinpath(*node.module.split("."), name.name)
                    is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                    yield module, f"{node.module}.{name.name}" if is_module else node.module


def cycle(edges):
    """The modules that lie on or lead into each other in a circle."""
    graph = {}
    for source, target in edges:
        graph.setdefault(source, set()).add(target)
        graph.setdefault(target, set())
    while free := [node for node, targets in graph.items() if not targets & set(graph)]:
        for node in free:
            del graph[node]
    return sorted(graph)


def test_no_include_points_upward():
    edges = list(includes())
    assert len(edges) > 50
    assert [edge for edge in edges if room(edge[1]) > room(edge[0])] == []


def test_nothing_goes_in_a_circle():
    assert cycle(includes()) == []
    assert cycle(imports()) == []
    assert cycle([("a", "b"), ("b", "c"), ("c", "b")]) == ["a", "b", "c"]
