# SPDX-License-Identifier: Apache-2.0
"""Runs Ascend C kernels on the host twin: builds a source for both core types, launches it on arrays."""

from __future__ import annotations

import concurrent.futures
import ctypes
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess
import typing

import numpy as np

from builds import build_once, one_builder

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TWIN_BUILD", HERE.parents[1] / "build" / "twin"))
COMPILER = os.environ.get("TWIN_CXX", "g++")
SANITIZE = os.environ.get("TWIN_SANITIZE", "")
TASK_TYPES = {
    name: i
    for i, name in enumerate(["AIV_ONLY", "AIC_ONLY", "MIX_AIC_1_2", "MIX_AIC_1_1", "MIX_AIV_1_0", "MIX_AIC_1_0"])
}
KINDS = {"input": 0, "output": 1, "inout": 2, "workspace": 3}
HALVES = {"cube": "-D__DAV_C220_CUBE__", "vector": "-D__DAV_C220_VEC__"}


class TwinError(AssertionError):
    """The launch broke rules of the hardware; reports holds them all."""

    def __init__(self, reports: list[Report], dropped: int = 0):
        self.reports = reports
        more = f"\n... and {dropped} more" if dropped else ""
        super().__init__(f"{len(reports)} reports\n" + "\n".join(map(str, reports)) + more)


@dataclasses.dataclass
class Report:
    """One broken rule: where, what, which bytes, and the other instruction of a conflict."""

    rule: str
    kernel: str
    core: str
    pipe: str
    index: int
    api: str
    file: str
    line: int
    message: str
    count: int = 1
    memory: str = ""
    begin: int = 0
    end: int = 0
    buffer: str = ""
    other: dict | None = None

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: [{self.rule}] {self.core} {self.pipe} #{self.index} {self.message}"
        if self.other:
            text += f" (other at {self.other['file']}:{self.other['line']}, #{self.other['index']})"
        return text + (f" x{self.count}" if self.count > 1 else "")


@dataclasses.dataclass
class Argument:
    """A GM tensor of a launch. misalign shifts it off the 512-byte boundary that device allocations have."""

    data: np.ndarray | None
    kind: str = "input"
    name: str = ""
    misalign: int = 0
    nbytes: int = 0


def output(shape: typing.Any, dtype: typing.Any, name: str = "") -> Argument:
    """An output tensor, poisoned until the kernel writes it."""
    return Argument(np.zeros(shape, dtype), "output", name)


def workspace(nbytes: int) -> Argument:
    """User workspace of nbytes behind the bytes that the system reserves."""
    return Argument(None, "workspace", "workspace", nbytes=nbytes)


@dataclasses.dataclass
class Result:
    """Outputs in argument order, the reports, and what the time model says."""

    outputs: list[np.ndarray]
    reports: list[Report]
    timing: dict
    trace: str


class _Argument(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("misalign", ctypes.c_uint32),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("cube_object", ctypes.c_char_p),
        ("vector_object", ctypes.c_char_p),
        ("entry", ctypes.c_char_p),
        ("arguments", ctypes.POINTER(_Argument)),
        ("argument_count", ctypes.c_uint32),
        ("task_type", ctypes.c_int32),
        ("block_dim", ctypes.c_int32),
        ("aic_cores", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("preempt", ctypes.c_uint32),
        ("checks", ctypes.c_uint32),
        ("timing", ctypes.c_uint32),
        ("trace_events", ctypes.c_uint32),
        ("report_limit", ctypes.c_uint64),
        ("tiling_key", ctypes.c_uint64),
        ("reserved_workspace", ctypes.c_uint64),
        ("figures", ctypes.c_char_p),
    ]


def _run(command: list[str]) -> None:
    # A preloaded sanitizer runtime is for this process; under it a compiler takes several times as long.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _digest(paths: typing.Iterable[pathlib.Path], *extra: str) -> str:
    digest = hashlib.sha256("\0".join(extra).encode())
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_library: ctypes.CDLL | None = None


def build_folder() -> pathlib.Path:
    return BUILD / f"{pathlib.Path(COMPILER).name}{'-' + SANITIZE.replace(',', '-') if SANITIZE else ''}"


def library_path() -> pathlib.Path:
    """Builds libtwin with CMake and Ninja, outside the source tree; only what changed is compiled."""
    folder = build_folder()
    options = [f"-DCMAKE_CXX_COMPILER={COMPILER}", f"-DTWIN_SANITIZE={SANITIZE}"]
    with one_builder(folder):
        if not (folder / "build.ninja").exists():
            _run(["cmake", "-G", "Ninja", "-S", str(HERE), "-B", str(folder), *options])
        _run(["ninja", "-C", str(folder)])
    return folder / "libtwin.so"


def library() -> ctypes.CDLL:
    global _library
    if _library is None:
        _library = ctypes.CDLL(str(library_path()))
        _library.twin_launch.restype = ctypes.c_void_p
        for name in ("twin_reports", "twin_timing", "twin_trace", "twin_error"):
            getattr(_library, name).restype = ctypes.c_char_p
            getattr(_library, name).argtypes = [ctypes.c_void_p]
        _library.twin_free.argtypes = [ctypes.c_void_p]
    return _library


def run_program(source: pathlib.Path, folder: pathlib.Path, arguments: typing.Sequence[typing.Any]) -> None:
    """Compiles a C++ program that calls libtwin (twin/launch.h) and runs it; it must return 0."""
    twin, program = library_path(), folder / source.stem
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", f"-I{HERE / 'include'}"]
    if SANITIZE:
        flags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    _run([COMPILER, *flags, str(source), "-o", str(program), str(twin), f"-Wl,-rpath,{twin.parent}"])
    _run([str(program), *map(str, arguments)])


def _headers() -> list[pathlib.Path]:
    return list((HERE / "include").rglob("*.h"))


class Kernel:
    """A compiled kernel source; launch() runs one of its entries."""

    def __init__(self, source: pathlib.Path, objects: dict[str, pathlib.Path]):
        self.source = source
        self.objects = objects

    def declared_type(self, entry: str) -> str | None:
        """KERNEL_TASK_TYPE_DEFAULT of the entry, read from the source; None when it declares none."""
        text = self.source.read_text()
        start = re.search(rf"\b{entry}\s*\(", text)
        found = (
            re.search(r"KERNEL_TASK_TYPE_DEFAULT\(\s*KERNEL_TYPE_(\w+)\s*\)", text[start.end() :]) if start else None
        )
        return found.group(1) if found else None

    def launch(
        self,
        entry: str,
        arguments: typing.Sequence[np.ndarray | Argument | None],
        block_dim: int = 1,
        task_type: str | None = None,
        aic_cores: int = 20,
        seed: int = 0,
        preempt: int = 0,
        checks: bool = True,
        timing: bool = True,
        trace: bool = False,
        tiling_key: int = 0,
        reserved_workspace: int = 16 << 20,
        report_limit: int = 200,
        raise_reports: bool = True,
        figures: dict[str, float] | None = None,
    ) -> Result:
        """Runs the kernel; arrays are inputs. Raises TwinError on reports unless raise_reports is False.

        seed != 0 permutes the order in which cores run; preempt = n also switches at one instruction in n.
        checks=False is the fast mode: bounds only. figures replaces entries of the time model's table.
        """
        kind = task_type or self.declared_type(entry) or "AIV_ONLY"
        bound = [a if isinstance(a, Argument) else Argument(a) for a in arguments]
        slots = (_Argument * max(len(bound), 1))()
        keep = []
        for i, a in enumerate(bound):
            data = None if a.data is None else np.ascontiguousarray(a.data)
            if data is not None and a.kind != "input" and data is a.data:
                data = data.copy()
            keep.append(data)
            slots[i] = _Argument(
                None if data is None else data.ctypes.data or 1,
                a.nbytes if data is None else data.nbytes,
                (a.name or f"argument {i}").encode(),
                KINDS[a.kind],
                a.misalign,
            )
        call = _Launch(
            str(self.objects["cube"]).encode() if "cube" in self.objects else None,
            str(self.objects["vector"]).encode() if "vector" in self.objects else None,
            entry.encode(),
            slots,
            len(bound),
            TASK_TYPES[kind],
            block_dim,
            aic_cores,
            seed,
            preempt,
            checks,
            timing,
            trace,
            report_limit,
            tiling_key,
            reserved_workspace,
            ",".join(f"{k}={v!r}" for k, v in (figures or {}).items()).encode(),
        )
        lib = library()
        handle = lib.twin_launch(ctypes.byref(call))
        try:
            error = lib.twin_error(handle).decode()
            if error:
                raise RuntimeError(error)
            found = json.loads(lib.twin_reports(handle).decode())
            times = lib.twin_timing(handle).decode()
            events = lib.twin_trace(handle).decode()
        finally:
            lib.twin_free(handle)
        reports = [Report(**r) for r in found["reports"]]
        if reports and raise_reports:
            raise TwinError(reports, found["dropped"])
        outputs = [d for d, a in zip(keep, bound) if a.kind in ("output", "inout")]
        return Result(outputs, reports, json.loads(times) if times else {}, events)


def compile_kernel(
    source: str | os.PathLike,
    defines: typing.Sequence[str] = (),
    include: typing.Sequence[str | os.PathLike] = (),
    halves: typing.Sequence[str] = ("cube", "vector"),
) -> Kernel:
    """Compiles a kernel source once per core type; unchanged sources come from the build folder."""
    source = pathlib.Path(source).resolve()
    twin = library_path()
    local = [p for folder in (source.parent, *map(pathlib.Path, include)) for p in pathlib.Path(folder).rglob("*.h")]
    key = _digest([source, *_headers(), *local], COMPILER, SANITIZE, *defines)
    folder = build_folder() / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    objects = {half: folder / f"{source.stem}-{key}-{half}.so" for half in halves}

    def compile_half(half: str) -> None:
        build_once(objects[half], lambda partial: compile_to(partial, half))

    def compile_to(partial: pathlib.Path, half: str) -> None:
        flags = [
            "-std=c++17",
            "-O1",
            "-g1",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-ffp-contract=off",
            "-Wall",
            "-Wno-unused",
        ]
        if "clang" not in COMPILER:
            flags.append("-fno-gnu-unique")
        if SANITIZE:
            flags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
        paths = [f"-I{HERE / 'include'}", *(f"-I{p}" for p in include)]
        link = [str(twin), f"-Wl,-rpath,{twin.parent}"]
        _run(
            [
                COMPILER,
                *flags,
                HALVES[half],
                *(f"-D{d}" for d in defines),
                *paths,
                str(source),
                "-o",
                str(partial),
                *link,
            ]
        )

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_half, halves))
    return Kernel(source, objects)
