# SPDX-License-Identifier: Apache-2.0
"""Every header of the native code compiles alone, and the vector layer includes nothing above it."""

import concurrent.futures
import pathlib
import platform
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CSRC, ASCENDC, TWIN = ROOT / "ms_nsa" / "csrc", ROOT / "ascendc", ROOT / "tests" / "twin" / "include"
OPTIONS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-fsyntax-only", "-x", "c++"]
X86_FLAGS = ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16"]
X86_FLAGS += ["-mamx-tile", "-mamx-bf16"]
COMPILERS = {"x86_64": "g++", "aarch64": "aarch64-linux-gnu-g++"}
# Rooms of the kernels, and the rooms that each may include besides itself; "" holds what they share.
ROOMS = {"": set(), "training": {""}, "compressed": {"", "training"}, "decode": {"", "compressed"}}
# Headers of the vector layer that need one processor family, and its flags.
FAMILIES = {
    "avx": ("x86_64", X86_FLAGS),
    "amx": ("x86_64", X86_FLAGS),
    "neon": ("aarch64", ["-march=armv8.2-a+fp16fml+bf16"]),
}


def failures(headers, command):
    """Messages of those headers that do not compile when a source includes only them."""

    def compile_alone(header):
        source = f'#include "{header}"\n'
        done = subprocess.run([*command, "-"], input=source, capture_output=True, text=True)
        return f"{header}: {done.stderr}" if done.returncode else ""

    assert headers
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [message for message in pool.map(compile_alone, headers) if message]


def family(header):
    """The processor family that a header of the vector layer is for, and its flags; None: any."""
    return next((needs for stem, needs in FAMILIES.items() if header.name.startswith(stem)), None)


def test_headers_of_the_cpu_backend():
    portable = [header for header in sorted(CSRC.rglob("*.h")) if family(header) is None]
    assert not failures(portable, ["g++", "-fopenmp", *OPTIONS])


@pytest.mark.parametrize("stem", FAMILIES)
def test_headers_of_one_processor_family(stem):
    machine, flags = FAMILIES[stem]
    compiler = "g++" if machine == platform.machine() else COMPILERS[machine]
    if shutil.which(compiler) is None:
        pytest.skip(f"not installed: {compiler}")
    assert not failures(sorted((CSRC / "simd").glob(f"{stem}*.h")), [compiler, *flags, *OPTIONS])


def test_headers_of_the_ascend_backend(tmp_path):
    """On the host, and those of the kernels after CANN's own header, which must come first."""
    include = [f"-I{folder}" for folder in sorted({header.parent for header in ASCENDC.rglob("*.h")})]
    kernels = sorted((ASCENDC / "op_kernel").rglob("*.h"))
    first = tmp_path / "first.h"
    first.write_text('#include "kernel_operator.h"\n')
    device = ["g++", "-std=c++17", "-D__DAV_C220_VEC__", f"-I{tmp_path}", f"-I{TWIN}", *include]
    subprocess.run([*device, "-x", "c++-header", str(first), "-o", f"{first}.gch"], check=True)
    assert not failures(sorted((ASCENDC / "common").rglob("*.h")), ["g++", *include, *OPTIONS])
    assert not failures(kernels, [*device, "-include", "first.h", *OPTIONS])


def test_a_header_that_needs_another_fails(tmp_path):
    header = tmp_path / "needs.h"
    header.write_text("#pragma once\ntemplate <class T> int f() { return Other<int>(); }\n")
    assert failures([header], ["g++", *OPTIONS])


def test_the_vector_layer_includes_nothing_above_it():
    for header in sorted((CSRC / "simd").glob("*.h")):
        upward = [name for name in re.findall(r'#include "(.*)"', header.read_text()) if "/" in name]
        assert not upward, f"{header.name} includes {upward}"


def included_rooms(header):
    """Rooms of the kernels that a header includes."""
    kernels = CSRC / "kernels"
    paths = [(header.parent / name).resolve() for name in re.findall(r'#include "(.*)"', header.read_text())]
    return {"/".join(path.parent.relative_to(kernels).parts) for path in paths if path.is_relative_to(kernels)}


def test_the_rooms_of_the_kernels_include_what_lies_below():
    """Except the table, which holds every room."""
    for room, below in ROOMS.items():
        for header in (CSRC / "kernels" / room).glob("*.h"):
            upward = included_rooms(header) - below - {room}
            assert header.name == "table.h" or not upward, f"{header.relative_to(CSRC)} includes {upward}"
    rooms = {header.parent.name for header in (CSRC / "kernels").glob("*/*.h")}
    assert rooms <= set(ROOMS), "a room without a rule"
