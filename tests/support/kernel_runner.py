# SPDX-License-Identifier: Apache-2.0
"""Builds tests/cpp/kernel_runner.cpp for this machine, or for 64-bit Arm under qemu, and runs cases."""

import os
import pathlib
import re
import shutil
import subprocess
from functools import cache

from builds import one_builder

from . import case_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARM_COMPILER, ARM_EMULATOR, ARM_LIBRARIES = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
# Flags of /proc/cpuinfo that each x86 instruction set needs.
_AVX2 = {"avx2", "fma", "f16c"}
_AVX512 = {*_AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl"}
_AVX512BF16 = {*_AVX512, "avx512_bf16"}
_AMXBF16 = {*_AVX512BF16, "amx_tile", "amx_bf16"}
CPU_FLAGS = {"avx2": _AVX2, "avx512": _AVX512, "avx512bf16": _AVX512BF16, "amxbf16": _AMXBF16}
ARM_ISAS = ("neon", "neonfp16", "neonbf16")
ISAS = ("scalar", *CPU_FLAGS, *ARM_ISAS)
EMULATE = (ARM_EMULATOR, "-L", ARM_LIBRARIES)


class KernelRunner:
    """The runner of one processor family; ``prefix`` is the emulator's command, if any."""

    def __init__(self, build, prefix=()):
        self.build = build
        self.command = [*prefix, str(build / "kernel_runner")]

    def isas(self):
        return self._run("--isas").stdout.split()

    def run(self, folder, isa, calls, threads=(1,), **variables):
        """Outputs of each call under each number of threads, as case_file.read_outputs gives them."""
        case_path, out_path = folder / "cases", folder / "outputs"
        case_file.write_calls(case_path, calls)
        done = self._run(isa, ",".join(map(str, threads)), str(case_path), str(out_path), **variables)
        assert done.returncode == 0, f"kernel_runner {isa} ended with {done.returncode}: {done.stderr}"
        return case_file.read_outputs(out_path, calls, len(threads))

    def run_together(self, folder, calls, repeats):
        """Outputs of each call in each repeat, with all calls running at once."""
        return self._run_repeats(folder, calls, repeats, "--together")[0]

    def run_joined(self, folder, calls, repeats):
        """The same on one thread, which another thread joins; and how often it did."""
        outputs, done = self._run_repeats(folder, calls, repeats, "--joined")
        return outputs, int(done.stdout)

    def _run_repeats(self, folder, calls, repeats, option):
        case_path, out_path = folder / "cases", folder / "outputs"
        case_file.write_calls(case_path, calls)
        # More threads than processors: one that spins while it waits would keep the others from running.
        done = self._run(option, str(repeats), str(case_path), str(out_path), OMP_WAIT_POLICY="passive")
        assert done.returncode == 0, f"kernel_runner ended with {done.returncode}: {done.stderr}"
        return case_file.read_outputs(out_path, calls, repeats), done

    def fails(self, isa):
        """The message with which the runner refuses an ISA."""
        done = self._run(isa, "1", os.devnull, os.devnull)
        assert done.returncode == 1
        return done.stderr

    def _run(self, *arguments, **variables):
        environment = {**os.environ, **variables}
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, env=environment)


@cache
def native_runner():
    return KernelRunner(build("native"))


@cache
def arm_runner(model="max"):
    """On a processor model of qemu's; "max" has everything."""
    return KernelRunner(build("aarch64"), (*EMULATE, "-cpu", model))


def missing_for_arm():
    """What is not installed of the cross compiler and the emulator."""
    return [tool for tool in (ARM_COMPILER, ARM_EMULATOR) if shutil.which(tool) is None]


def processor_flags():
    """Of /proc/cpuinfo; None on a processor that is not x86."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = [line for line in file if line.startswith("flags")]
    return set(lines[0].split(":")[1].split()) if lines else None


PRODUCT = ROOT / "build" / "cpu"  # where installing from this tree compiles


def product_settings():
    """CMake's options for tests that link the kernels of PRODUCT: none if a source is newer or it is cross-compiled."""
    archive, cache = PRODUCT / "libms_nsa_kernels.a", PRODUCT / "CMakeCache.txt"
    if not archive.is_file() or not cache.is_file():
        return []
    sources = (path for path in (ROOT / "ms_nsa" / "csrc").rglob("*") if path.suffix in {".h", ".cpp", ".txt"})
    cached = dict(re.findall(r"^(\w+):\w+=(.*)$", cache.read_text(), flags=re.MULTILINE))
    compiler = cached["CMAKE_CXX_COMPILER"]  # the archive needs its OpenMP runtime
    older = archive.stat().st_mtime <= max(path.stat().st_mtime for path in sources)
    if older or "CMAKE_TOOLCHAIN_FILE" in cached or not shutil.which(compiler):
        return []
    return [f"-DMS_NSA_KERNELS={archive}", f"-DCMAKE_CXX_COMPILER={compiler}"]


def unit_objects(folder):
    """Object files of the instruction-set units that the runner in `folder` consists of."""
    shared = folder.name.endswith("native") and product_settings()
    return list((PRODUCT if shared else folder / "csrc").glob("**/isa/*.o"))


def build(family, target="kernel_runner"):
    """Incremental, in build/, so that only the first run of the tests pays for it."""
    folder = ROOT / "build" / f"cpp_tests_{family}"
    configure = ["cmake", "-S", str(ROOT / "tests" / "cpp"), "-B", str(folder), "-G", "Ninja"]
    if family == "aarch64":
        configure.append(f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'tests' / 'cpp' / 'aarch64.cmake'}")
    else:
        configure += product_settings()
    with one_builder(folder):
        (folder / "CMakeCache.txt").unlink(missing_ok=True)  # it may name tools of another environment
        for command in (configure, ["cmake", "--build", str(folder), "--target", target]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return folder
