# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of the matrix product's inner loop per multiply-add, from the disassembly.

From tests/, ``python -m support.product_loop`` prints the table of ms_nsa/csrc/simd/README.md for the Arm units."""

import re
import subprocess
from typing import NamedTuple

from .kernel_runner import ARM_COMPILER, build

# Multiply-adds of one instruction.
PRODUCTS = {"fmla": 4, "fmlal": 4, "fmlal2": 4, "bfdot": 8}
LOOPS = {"neon": "FloatDot", "neonfp16": "NeonFp16Dot", "neonbf16": "NeonBf16Dot"}


class Loop(NamedTuple):
    instructions: int
    multiply_adds: int

    @property
    def per_multiply_add(self):
        return self.instructions / self.multiply_adds


def product_loop(isa, dot):
    """The loop of a unit and dot policy: the one with the most products and no loop inside it."""
    folder = build("aarch64", f"product_loop_{isa}")
    (path,) = folder.glob(f"CMakeFiles/product_loop_{isa}.dir/*.o")
    objdump = ARM_COMPILER.removesuffix("g++") + "objdump"
    command = [objdump, "-d", "-C", "--no-show-raw-insn", str(path)]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = re.findall(r"^[0-9a-f]+ <(.*)>:\n((?:.+\n)+)", code, re.MULTILINE)
    loops = [loop for name, body in functions if dot in name for loop in _inner_loops(body)]
    return max(loops, key=lambda loop: loop.multiply_adds)


def _inner_loops(body):
    lines = [line.split("\t") for line in body.splitlines()]
    address = {int(line[0].strip(" :"), 16): i for i, line in enumerate(lines)}
    last_start = -1
    for end, line in enumerate(lines):
        target = re.match(r"([0-9a-f]+)", line[2]) if line[1].startswith(("b.", "cbnz")) else None
        start = address.get(int(target[1], 16), end) if target else end
        if start >= end:
            continue
        if start > last_start:  # otherwise it holds the loop before it
            names = [other[1].strip() for other in lines[start : end + 1]]
            yield Loop(len(names), sum(PRODUCTS.get(name, 0) for name in names))
        last_start = max(last_start, start)


def table():
    """The rows of the README's table."""
    for isa, dot in LOOPS.items():
        loop = product_loop(isa, dot)
        yield f"| {isa} | {dot} | {loop.instructions} | {loop.multiply_adds} | {loop.per_multiply_add:.3f} |"


if __name__ == "__main__":
    print("\n".join(table()))
