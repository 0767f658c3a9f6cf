# SPDX-License-Identifier: Apache-2.0
"""The vector layer: every operation of every instruction set against scalar arithmetic (tests/cpp/simd_test.cpp)."""

import functools
import pathlib
import subprocess

import pytest

from support.kernel_runner import ARM_ISAS, CPU_FLAGS, EMULATE, ISAS, build, missing_for_arm, processor_flags
from support.product_loop import LOOPS, product_loop

UNITS = pathlib.Path(__file__).resolve().parents[2] / "ms_nsa" / "csrc" / "isa"


@functools.cache
def command(isa):
    """What runs an instruction set's test on this machine."""
    flags, target = processor_flags(), f"simd_test_{isa}"
    emulated = isa in ARM_ISAS and flags is not None
    if emulated and missing_for_arm():
        pytest.skip(f"not installed: {', '.join(missing_for_arm())}")
    if not emulated and not CPU_FLAGS.get(isa, set()) <= (flags or set()):
        pytest.skip(f"this processor has no {isa}, and qemu emulates none")
    folder = build("aarch64" if emulated else "native", target)
    return [*(EMULATE if emulated else ()), str(folder / target)]


def run(isa, *arguments):
    return subprocess.run([*command(isa), *arguments], capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("isa", ISAS)
def test_every_operation(isa):
    assert run(isa) == []


@pytest.mark.parametrize("isa", ["scalar", "avx2", "neonbf16"])
def test_every_planted_error_is_found(isa):
    """By the name of its operation."""
    found = [line.split(": ") for line in run(isa, "--planted")]
    assert len(found) > 40
    for error, wrong in found:
        if error != "Fraction":  # an operation of AVX-512 alone
            assert error.removesuffix(" of two").split()[0] in wrong.split(","), f"{error}: {wrong}"


def test_every_unit_is_tested():
    assert sorted(ISAS) == sorted(unit.stem for unit in UNITS.glob("*.cpp"))


def test_arm_units_save_instructions():
    """Per multiply-add of the product's inner loop. The README's figures are those of one compiler."""
    if missing_for_arm():
        pytest.skip(f"not installed: {', '.join(missing_for_arm())}")
    found = {isa: product_loop(isa, dot).per_multiply_add for isa, dot in LOOPS.items()}
    assert found["neonfp16"] < 0.9 * found["neon"]
    assert found["neonbf16"] < 0.55 * found["neon"]
